"""Mask secrets in the texts and attributes of spans."""

from __future__ import annotations

from functools import lru_cache

from scalekit.config.password_mask import MASK
from scalekit.config.text_redaction import Redactor
from scalekit.telemetry.attributes import MAX_ATTRIBUTES, MAX_COPIED_TEXT, MAX_TEXT, text_of

MAX_REMEMBERED = 256
"""Characters of a text for which it is remembered how it is masked: most texts are repeated."""


class SpanRedactor:
    """Masks what *redactor* finds secret, and limits the length of texts and sequences."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._redact_short = lru_cache(4096)(redactor.redact)

    def text(self, text: str) -> str:
        """Return at most MAX_TEXT characters of *text*, without secrets."""
        if len(text) <= MAX_REMEMBERED:
            return self._redact_short(text)
        return self._redactor.redact(text[:MAX_COPIED_TEXT])[:MAX_TEXT]

    def value(self, name: str, value: object) -> object:
        """Return the value of the attribute *name*: masked when the name is that of a secret.

        Values that are no texts, numbers, booleans or sequences become text.
        """
        return MASK if self._redactor.is_secret(name) else self._value(value)

    def _value(self, value: object) -> object:
        if isinstance(value, bool | int | float):
            return value
        if isinstance(value, list | tuple):
            if len(value) == 2 and isinstance(value[0], str) and self._redactor.is_secret(value[0]):  # a pair
                return [value[0], MASK]
            return [self._value(each) for each in value[:MAX_ATTRIBUTES]]
        return self.text(value if isinstance(value, str) else text_of(value))
