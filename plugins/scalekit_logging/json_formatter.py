"""Format each event as one JSON line, with the same keys in the same order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from scalekit import MASK, TraceContext
from scalekit_logging.levels import name_of
from scalekit_logging.redaction import Redactor
from scalekit_logging.serialization import LONGEST_KEY, ValueSerializer

RESERVED_FIELDS = ("timestamp", "level", "event", "logger", "service", "request_id", "trace_id")
"""What every line says; a field of the same name gets an underscore after it."""
LEVEL_AT = len('{"timestamp":"2026-01-01T00:00:00.000000Z","level":"')
"""Where in a line its level begins."""
LONGEST_LINE = 65_536

_PLAIN = frozenset((str, int, float, bool, type(None)))
_BOUNDS = ((16_384, 2_000), (512, 60), (64, 20))
"""How long a text may be and how many values there may be; the next ones are for what is too long a line even so."""
_NEVER_CUT = 4096
"""Characters in all texts of a line that no bound cuts."""
_BETWEEN = "\0\n"
"""Stands between texts that are searched for secrets together; no name of a secret and its value goes across it."""
_REMEMBERED = 10_000


def second_text(second: float) -> str:
    """Return *second*, counted since 1970, in UTC as RFC 3339 writes it, with the dot before its fraction."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))


class TimestampFormatter:
    """Tells the time as RFC 3339 writes it; only the fraction is worked out each time."""

    def __init__(self) -> None:
        self._second = ""
        self._known = -1

    def stamp(self, now: float) -> str:
        """Return *now*, seconds since 1970, in UTC and to the microsecond."""
        second = int(now)
        if second != self._known:
            # In this order: another thread that sees the new number must see the new text.
            self._second = second_text(second)
            self._known = second
        micros = int((now - second) * 1e6)
        return f"{self._second}{micros if micros > 99_999 else f'{micros:06}'}Z"  # padding takes longer than the rest


class FieldNameCache(dict[str, tuple[str, bool] | None]):
    """A memo of names of fields: the key of each and whether its value is masked, or None for a name to be cleaned."""

    def __init__(self, own: frozenset[str], redaction: Redactor) -> None:
        super().__init__()
        self._own = own
        self._redaction = redaction

    def __missing__(self, name: str) -> tuple[str, bool] | None:
        """Find the key of *name*."""
        if len(name) > LONGEST_KEY or self._redaction.clean(name) != name:
            return None
        if len(self) >= _REMEMBERED:
            self.clear()
        key = self[name] = (f"{name}_" if name in self._own else name, self._redaction.is_secret(name))
        return key


class JsonFormatter:
    """Makes lines; *fields* are in every one of them."""

    def __init__(self, fields: Mapping[str, str], redaction: Redactor) -> None:
        self.fields: dict[str, str | int] = dict(fields)
        self.redaction = redaction
        self._clock = TimestampFormatter()
        self._name_own()

    def identify(self, worker: int, pid: int) -> None:
        """Say in every line from now on which of several workers wrote it; fields of the file go before."""
        self.fields = {"worker": worker, "pid": pid, **self.fields}
        self._name_own()

    def line(
        self, number: int, logger: str, event: object, fields: Mapping[Any, Any], identity: TraceContext | None
    ) -> bytes:
        """Return a whole line of level *number* with its line feed."""
        stamp = self._clock.stamp(time.time())
        line = {"timestamp": stamp, "level": name_of(number), "event": event, "logger": logger, **self.fields}
        if identity is not None:
            line["request_id"] = identity.request_id
            line["trace_id"] = identity.trace_id
        try:
            texts = self._add(line, fields)
            if texts is not None and type(event) is str:
                data = orjson.dumps(line)
                if len(data) <= LONGEST_LINE and self._is_clean(_BETWEEN.join([logger, event, *texts]), data):
                    return data + b"\n"  # a copy: what orjson makes has more memory than it needs, and lines wait
        except TypeError:  # a number or a text that JSON or UTF-8 cannot hold
            pass
        return self._carefully(line, event, fields, identity)

    def _name_own(self) -> None:
        self._own = frozenset((*RESERVED_FIELDS, *self.fields))
        self._keys = FieldNameCache(self._own, self.redaction)

    def _add(self, line: dict[str, Any], fields: Mapping[Any, Any]) -> list[str] | None:
        """Add *fields* to *line* as long as they are simple; return their texts, or None when not all of them are."""
        keys = self._keys
        texts: list[str] = []
        for name, value in fields.items():
            kind = type(value)
            found = keys[name] if kind in _PLAIN and type(name) is str else None
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
        """Tell whether *text*, all the texts of the line *data*, has no secret in it and nothing that would be cut."""
        return (len(text) <= _NEVER_CUT or b"\\" not in data) and self.redaction.clean(text) == text

    def _carefully(
        self, line: Mapping[str, Any], event: object, fields: Mapping[Any, Any], identity: TraceContext | None
    ) -> bytes:
        head = {name: line[name] for name in ("timestamp", "level", "event", "logger", *self.fields)}
        if identity is not None:
            head |= {"request_id": identity.request_id, "trace_id": identity.trace_id}
        data = b""
        for longest, items in _BOUNDS:
            plainer = ValueSerializer(self.redaction, longest, items)
            head["event"] = plainer.value(event)
            head["logger"] = plainer.text(line["logger"])
            rest = plainer.fields(fields)
            renamed = {f"{name}_" if name in self._own else name: value for name, value in rest.items()}
            data = orjson.dumps({**head, **renamed}) + b"\n"
            if len(data) <= LONGEST_LINE:
                break
        return data
