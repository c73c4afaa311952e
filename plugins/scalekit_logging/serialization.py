"""Convert any value to JSON types: bounded in size and depth, secrets masked, never raising."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from datetime import date, time
from itertools import islice
from typing import Any

from scalekit import MASK
from scalekit_logging.redaction import Redactor

MORE = "..."
DEEPEST = 8
LONGEST_KEY = 128
_LONGEST_SECRET = 4096
_SMALLEST, _GREATEST = -(2**63), 2**64 - 1


class ValueSerializer:
    """Makes the values of one line plain; *longest* bounds each text, *items* how many values there are in all."""

    def __init__(self, redaction: Redactor, longest: int, items: int) -> None:
        self._redaction = redaction
        self._longest = longest
        self._left = items

    def fields(self, fields: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
        """Return *fields* with plain values, those with a secret name masked."""
        plain: dict[str, Any] = {}
        for key, value in list(islice(fields.items(), self._left + 1)):
            if self._left <= 0:
                plain[MORE] = MORE
                break
            name = self.text(_bounded_text(key), LONGEST_KEY)
            secret = value is not None and self._redaction.is_secret(_bounded_text(key))
            plain[name] = MASK if secret else self.value(value, depth + 1)
        return plain

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return *value* as something that JSON can hold."""
        self._left -= 1
        if value is None or value is True or value is False or type(value) is float:
            return value
        if type(value) is int and _SMALLEST <= value <= _GREATEST:
            return value
        try:
            return self._container(value, depth) if depth <= DEEPEST else MORE
        except _NotAContainer:
            return self.text(_bounded_text(value))
        except Exception:
            return _unshowable(value)

    def text(self, text: str, longest: int = 0) -> str:
        """Return *text* without secrets and without what UTF-8 cannot hold, cut in the middle when it is too long."""
        longest = longest or self._longest
        half = longest // 2
        whole = text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
        if len(whole) <= longest + 2 * _LONGEST_SECRET:
            whole = self._redaction.clean(whole)
            return whole if len(whole) <= longest else f"{whole[:half]}{MORE}{whole[-half:]}"
        # What a cut may have gone through, so that it is no longer known as a secret, is left out.
        head = self._redaction.clean(whole[: half + _LONGEST_SECRET])[:-_LONGEST_SECRET]
        tail = self._redaction.clean(whole[-half - _LONGEST_SECRET :])[_LONGEST_SECRET:]
        return f"{head[:half]}{MORE}{tail[-half:]}"

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self.fields(value, depth)
        if isinstance(value, list | tuple | Set) and not hasattr(value, "_fields"):
            return self._sequence(value, depth)
        raise _NotAContainer

    def _sequence(self, values: Iterable[Any], depth: int) -> list[Any]:
        if isinstance(values, list | tuple) and len(values) == 2 and self._names_a_secret(values[0]):
            return [self.value(values[0], depth + 1), MASK]
        plain: list[Any] = []
        for each in values:
            if self._left <= 0:
                plain.append(MORE)
                break
            plain.append(self.value(each, depth + 1))
        return plain

    def _names_a_secret(self, value: Any) -> bool:
        """Tell whether *value* is the name of a header, or of another pair of name and value, that is secret."""
        return isinstance(value, str | bytes) and self._redaction.is_secret(_bounded_text(value))


class _NotAContainer(Exception):
    pass


def _bounded_text(value: Any) -> str:
    try:
        if type(value) is str:
            return value
        if isinstance(value, bytes | bytearray):
            return bytes(value).decode("utf-8", "backslashreplace")
        if isinstance(value, date | time):
            return value.isoformat()
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        return str.__str__(str(value))
    except Exception:
        return _unshowable(value)


def _unshowable(value: Any) -> str:
    return f"<{type(value).__name__} that cannot be shown>"
