"""Convert any value to JSON types: bounded in size and depth, secrets masked, never raising."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from datetime import date, time
from itertools import islice
from typing import Any

from scalekit import MASK, Redactor

ELLIPSIS = "..."
MAX_DEPTH = 8
MAX_KEY_LENGTH = 128
_MAX_SECRET_LENGTH = 4096
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1


class ValueSerializer:
    """Serializes the values of one line: texts of at most *max_length* characters, and *max_values* values in all."""

    def __init__(self, redactor: Redactor, max_length: int, max_values: int) -> None:
        self._redactor = redactor
        self._max_length = max_length
        self._remaining = max_values

    def serialize_fields(self, fields: Mapping[Any, Any], depth: int = 0) -> dict[str, object]:
        """Return *fields* with serialized values; values of secret names are masked."""
        serialized: dict[str, object] = {}
        for key, value in list(islice(fields.items(), self._remaining + 1)):
            if self._remaining <= 0:
                serialized[ELLIPSIS] = ELLIPSIS
                break
            name = self.serialize_text(_to_text(key), MAX_KEY_LENGTH)
            secret = value is not None and self._redactor.is_secret(_to_text(key))
            serialized[name] = MASK if secret else self.serialize(value, depth + 1)
        return serialized

    def serialize(self, value: object, depth: int = 0) -> object:
        """Return *value* as JSON types."""
        self._remaining -= 1
        if value is None or value is True or value is False or type(value) is float:
            return value
        if type(value) is int and _MIN_INT <= value <= _MAX_INT:
            return value
        try:
            return self._serialize_container(value, depth) if depth <= MAX_DEPTH else ELLIPSIS
        except _NotAContainer:
            return self.serialize_text(_to_text(value))
        except Exception:
            return _unprintable(value)

    def serialize_text(self, text: str, max_length: int = 0) -> str:
        """Return *text* redacted, with lone surrogates escaped, and cut in the middle when it is too long."""
        max_length = max_length or self._max_length
        half = max_length // 2
        text = text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
        if len(text) <= max_length + 2 * _MAX_SECRET_LENGTH:
            text = self._redactor.redact(text)
            return text if len(text) <= max_length else f"{text[:half]}{ELLIPSIS}{text[-half:]}"
        # A cut may split a secret, which redaction then misses: drop the part at the cut.
        head = self._redactor.redact(text[: half + _MAX_SECRET_LENGTH])[:-_MAX_SECRET_LENGTH]
        tail = self._redactor.redact(text[-half - _MAX_SECRET_LENGTH :])[_MAX_SECRET_LENGTH:]
        return f"{head[:half]}{ELLIPSIS}{tail[-half:]}"

    def _serialize_container(self, value: object, depth: int) -> object:
        if isinstance(value, Mapping):
            return self.serialize_fields(value, depth)
        if isinstance(value, list | tuple | Set) and not hasattr(value, "_fields"):
            return self._serialize_sequence(value, depth)
        raise _NotAContainer

    def _serialize_sequence(self, values: Iterable[object], depth: int) -> list[object]:
        if isinstance(values, list | tuple) and len(values) == 2 and self._is_secret_name(values[0]):
            return [self.serialize(values[0], depth + 1), MASK]
        serialized: list[object] = []
        for value in values:
            if self._remaining <= 0:
                serialized.append(ELLIPSIS)
                break
            serialized.append(self.serialize(value, depth + 1))
        return serialized

    def _is_secret_name(self, value: object) -> bool:
        """Return whether *value* is a secret name, as the first item of a pair such as a header field."""
        return isinstance(value, str | bytes) and self._redactor.is_secret(_to_text(value))


class _NotAContainer(Exception):
    pass


def _to_text(value: object) -> str:
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
        return _unprintable(value)


def _unprintable(value: object) -> str:
    return f"<unprintable {type(value).__name__} object>"
