"""Shape lines: one JSON object each, with the same keys in the same order, whatever was logged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson

from scalekit.config.mask import MASK
from scalekit.identity import Identity
from scalekit_logging.levels import name_of
from scalekit_logging.redaction import Redaction
from scalekit_logging.values import Plainer

OWN_NAMES = ("timestamp", "level", "event", "logger", "service", "request_id", "trace_id")
"""What every line says; a field of the same name gets an underscore after it."""
LEVEL_AT = len('{"timestamp":"2026-01-01T00:00:00.000000Z","level":"')
"""Where in a line its level begins."""
LONGEST_LINE = 65_536

_PLAIN = frozenset((str, int, float, bool, type(None)))
_BOUNDS = ((16_384, 2_000), (512, 60), (64, 20))
"""How long a text may be and how many values there may be; the next ones are for what is too long a line even so."""


class Clock:
    """Tells the time as RFC 3339 writes it; only the fraction is worked out each time."""

    def __init__(self) -> None:
        self._second = ""
        self._known = -1

    def stamp(self, now: float) -> str:
        """Return *now*, seconds since 1970, in UTC and to the microsecond."""
        second = int(now)
        if second != self._known:
            # In this order: another thread that sees the new number must see the new text.
            self._second = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._known = second
        return "%s%06dZ" % (self._second, (now - second) * 1e6)  # noqa: UP031 - takes half the time of an f-string


class Lines:
    """Makes lines; *fields* are in every one of them."""

    def __init__(self, fields: Mapping[str, str], redaction: Redaction) -> None:
        self.fields: dict[str, str | int] = dict(fields)
        self.redaction = redaction
        self._own = frozenset((*OWN_NAMES, *fields))
        self._clock = Clock()

    def identify(self, worker: int, pid: int) -> None:
        """Say in every line from now on which of several workers wrote it; fields of the file go before."""
        self.fields = {"worker": worker, "pid": pid, **self.fields}
        self._own = frozenset((*OWN_NAMES, *self.fields))

    def line(
        self, number: int, logger: str, event: object, fields: Mapping[Any, Any], identity: Identity | None
    ) -> bytes:
        """Return a whole line of level *number* with its line feed."""
        stamp = self._clock.stamp(time.time())
        line = {"timestamp": stamp, "level": name_of(number), "event": event, "logger": logger, **self.fields}
        if identity is not None:
            line["request_id"] = identity.request_id
            line["trace_id"] = identity.trace_id
        try:
            simple = type(event) is str and self._add(line, fields)
            data = orjson.dumps(line) if simple else b""
            if simple and len(data) <= LONGEST_LINE and not self._may_hold_secrets(data):
                return data + b"\n"
        except TypeError:  # a number or a text that JSON or UTF-8 cannot hold
            pass
        return self._carefully(line, event, fields, identity)

    def _add(self, line: dict[str, Any], fields: Mapping[Any, Any]) -> bool:
        """Add *fields* to *line* as long as they are simple; tell whether all of them are."""
        is_secret = self.redaction.is_secret
        for name, value in fields.items():
            if type(value) not in _PLAIN or type(name) is not str:
                return False
            key = f"{name}_" if name in self._own else name
            line[key] = MASK if value is not None and is_secret(name) else value
        return True

    def _may_hold_secrets(self, data: bytes) -> bool:
        """Tell whether there is a secret in *data*, or an escape, which could hide one."""
        if b"\\" in data:
            return True
        text = data.decode()
        return self.redaction.clean(text) != text

    def _carefully(
        self, line: Mapping[str, Any], event: object, fields: Mapping[Any, Any], identity: Identity | None
    ) -> bytes:
        head = {name: line[name] for name in ("timestamp", "level", "event", "logger", *self.fields)}
        if identity is not None:
            head |= {"request_id": identity.request_id, "trace_id": identity.trace_id}
        data = b""
        for longest, items in _BOUNDS:
            plainer = Plainer(self.redaction, longest, items)
            head["event"] = plainer.value(event)
            head["logger"] = plainer.text(line["logger"])
            rest = plainer.fields(fields)
            renamed = {f"{name}_" if name in self._own else name: value for name, value in rest.items()}
            data = orjson.dumps({**head, **renamed}) + b"\n"
            if len(data) <= LONGEST_LINE:
                break
        return data
