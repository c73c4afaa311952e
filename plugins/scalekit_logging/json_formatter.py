"""Format each event as one JSON line, with the same keys in the same order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from scalekit import MASK, Redactor, TraceContext
from scalekit.telemetry import CURRENT_SPAN
from scalekit_logging.levels import name_of
from scalekit_logging.serialization import MAX_KEY_LENGTH, ValueSerializer

RESERVED_FIELDS = ("timestamp", "level", "event", "logger", "service", "request_id", "trace_id", "span_id")
"""Fields of every line; a field of an event with the same name gets a trailing underscore."""
LEVEL_OFFSET = len('{"timestamp":"2026-01-01T00:00:00.000000Z","level":"')
"""Offset of the level in a line, in bytes."""
MAX_LINE_BYTES = 65_536

_SIMPLE_TYPES = frozenset((str, int, float, bool, type(None)))
_BOUNDS = ((16_384, 2_000), (512, 60), (64, 20))
"""Maximum length of a text and number of values; tighter bounds apply while the line is longer than MAX_LINE_BYTES."""
_NEVER_TRUNCATED = 4096
"""Length of all texts of a line together up to which no bound truncates any of them."""
_SEPARATOR = "\0\n"
"""Joins texts that are redacted together; no pattern of a secret matches across it."""
_MAX_CACHED_NAMES = 10_000


def format_second(second: float) -> str:
    """Return the Unix time *second* in UTC as RFC 3339, up to the dot before its fraction."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))


class TimestampFormatter:
    """Formats timestamps as RFC 3339; the text of the current second is cached."""

    def __init__(self) -> None:
        self._text = ""
        self._second = -1

    def format(self, now: float) -> str:
        """Return the Unix time *now*, in seconds, in UTC with microseconds."""
        second = int(now)
        if second != self._second:
            # In this order: another thread that reads the new second must read the new text.
            self._text = format_second(second)
            self._second = second
        micros = int((now - second) * 1e6)
        return f"{self._text}{micros if micros > 99_999 else f'{micros:06}'}Z"  # padding is slow


class FieldNameCache(dict[str, tuple[str, bool] | None]):
    """Cache of field names: the key of each and whether its value is secret, or None for a name to be serialized."""

    def __init__(self, reserved: frozenset[str], redactor: Redactor) -> None:
        super().__init__()
        self._reserved = reserved
        self._redactor = redactor

    def __missing__(self, name: str) -> tuple[str, bool] | None:
        """Compute the key of *name*."""
        if len(name) > MAX_KEY_LENGTH or self._redactor.redact(name) != name:
            return None
        if len(self) >= _MAX_CACHED_NAMES:
            self.clear()
        key = self[name] = (f"{name}_" if name in self._reserved else name, self._redactor.is_secret(name))
        return key


class JsonFormatter:
    """Formats events as JSON lines; *fields* are part of every line."""

    def __init__(self, fields: Mapping[str, str], redactor: Redactor) -> None:
        self.fields: dict[str, str | int] = dict(fields)
        self.redactor = redactor
        self._timestamps = TimestampFormatter()
        self._reset_names()

    def set_worker(self, worker: int, pid: int) -> None:
        """Add ``worker`` and ``pid`` to every line; static fields of the same name take precedence."""
        self.fields = {"worker": worker, "pid": pid, **self.fields}
        self._reset_names()

    def format(
        self, level: int, logger: str, event: object, fields: Mapping[Any, Any], trace: TraceContext | None
    ) -> bytes:
        """Return the line of an event, including its line feed: at most MAX_LINE_BYTES before it."""
        timestamp = self._timestamps.format(time.time())
        line = {"timestamp": timestamp, "level": name_of(level), "event": event, "logger": logger, **self.fields}
        if trace is not None:
            line |= _ids(trace)
        try:
            texts = self._add_simple(line, fields)
            if texts is not None and type(event) is str:
                data = orjson.dumps(line)
                if len(data) <= MAX_LINE_BYTES and self._is_clean(_SEPARATOR.join([logger, event, *texts]), data):
                    return data + b"\n"  # a copy: orjson's result holds more memory than its length
        except TypeError:  # a number beyond 64 bits, or a lone surrogate
            pass
        return self._format_complex(line, event, fields, trace)

    def _reset_names(self) -> None:
        self._reserved = frozenset((*RESERVED_FIELDS, *self.fields))
        self._names = FieldNameCache(self._reserved, self.redactor)

    def _add_simple(self, line: dict[str, Any], fields: Mapping[Any, Any]) -> list[str] | None:
        """Add *fields* to *line*; return their texts, or None when a name or value is not simple."""
        names = self._names
        texts: list[str] = []
        for name, value in fields.items():
            found = names[name] if type(value) in _SIMPLE_TYPES and type(name) is str else None
            if found is None:
                return None
            key, secret = found
            if secret and value is not None:
                line[key] = MASK
                continue
            line[key] = value
            if isinstance(value, str):
                texts.append(value)
        return texts

    def _is_clean(self, text: str, data: bytes) -> bool:
        """Return whether *text*, all texts of the line *data*, contains no secret and needs no truncation."""
        return (len(text) <= _NEVER_TRUNCATED or b"\\" not in data) and self.redactor.redact(text) == text

    def _format_complex(
        self, line: Mapping[str, Any], event: object, fields: Mapping[Any, Any], trace: TraceContext | None
    ) -> bytes:
        head = {name: line[name] for name in ("timestamp", "level", "event", "logger", *self.fields)}
        if trace is not None:
            head |= _ids(trace)
        data = b""
        for max_length, max_values in _BOUNDS:
            serializer = ValueSerializer(self.redactor, max_length, max_values)
            head["event"] = serializer.serialize(event)
            head["logger"] = serializer.serialize_text(line["logger"])
            rest = serializer.serialize_fields(fields)
            renamed = {f"{name}_" if name in self._reserved else name: value for name, value in rest.items()}
            data = orjson.dumps({**head, **renamed}) + b"\n"
            if len(data) <= MAX_LINE_BYTES:
                break
        return data


def _ids(trace: TraceContext) -> dict[str, str]:
    """Return the fields with the ids of the request, and of the current span when spans are recorded."""
    span = CURRENT_SPAN.get()
    if span is None:
        return {"request_id": trace.request_id, "trace_id": trace.trace_id}
    return {"request_id": trace.request_id, "trace_id": trace.trace_id, "span_id": span.span_id}
