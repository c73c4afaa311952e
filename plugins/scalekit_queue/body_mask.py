"""The body of a message as text for operators: secrets masked, at most some kB, binary content not at all."""

from __future__ import annotations

from typing import Any

import orjson

from scalekit import MASK, Redactor

MAX_BODY = 2**20
"""Bytes of a body that is shown; a larger one could not be masked in full within a moment."""
MAX_SHOWN = 8_000
"""Characters of a body that are shown."""
MAX_STRING = 2_000
MAX_VALUES = 2_000
"""Values in a JSON document that are shown."""
MAX_DEPTH = 40
CUT = "\N{HORIZONTAL ELLIPSIS}"
KINDS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
)
"""Kinds of binary content by their first bytes."""


def describe_body(body: bytes, redactor: Redactor) -> tuple[str, str]:
    """Return the kind of *body*, such as ``JSON``, and its text with secrets masked, empty when it is not shown."""
    kind = next((name for start, name in KINDS if body.startswith(start)), "")
    try:
        text = "" if kind else body.decode()
    except UnicodeDecodeError:
        return "binary", ""
    if kind or "\0" in text:
        return kind or "binary", ""
    if len(body) > MAX_BODY:
        return "text, too large to show", ""
    try:
        content = orjson.loads(body)
    except ValueError:
        # Beyond the limit a secret may begin that the cut would hide from the patterns.
        return "text", _cut(redactor.redact(text[: 2 * MAX_SHOWN]), len(text))
    masked = orjson.dumps(_BodyMask(redactor).mask(content, MAX_DEPTH), option=orjson.OPT_INDENT_2).decode()
    return "JSON", _cut(masked, len(masked))


def _cut(text: str, length: int) -> str:
    return text[:MAX_SHOWN] + (CUT if length > MAX_SHOWN else "")


class _BodyMask:
    """Masks one document, of which it returns MAX_VALUES values at most."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._values = MAX_VALUES

    def mask(self, value: Any, depth: int) -> Any:
        """Return *value* without secrets, and without what is deeper than *depth*."""
        self._values -= 1
        if isinstance(value, str):
            return self._text(value)
        if not isinstance(value, dict | list):
            return value
        if not depth or self._values <= 0:
            return CUT
        return self._members(value, depth) if isinstance(value, dict) else self._items(value, depth)

    def _members(self, members: dict[str, Any], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        named = next((members[key] for key in ("name", "key", "header") if isinstance(members.get(key), str)), "")
        for name, value in members.items():
            if self._values <= 0:
                shown[CUT] = CUT
                break
            secret = self._redactor.is_secret(name) or (name == "value" and self._redactor.is_secret(named))
            shown[self._text(name)] = MASK if secret and value is not None else self.mask(value, depth - 1)
        return shown

    def _items(self, items: list[Any], depth: int) -> list[Any]:
        if len(items) == 2 and isinstance(items[0], str) and self._redactor.is_secret(items[0]):
            return [self._text(items[0]), MASK]
        shown: list[Any] = []
        for item in items:
            if self._values <= 0:
                return [*shown, CUT]
            shown.append(self.mask(item, depth - 1))
        return shown

    def _text(self, text: str) -> str:
        shown = self._redactor.redact(text[: 2 * MAX_STRING])
        return shown if len(text) <= MAX_STRING else shown[:MAX_STRING] + CUT
