"""The line of one request, shaped by hand: it is written for every request and nothing in it is of unknown type.

The request's path only puts down what is to be said. The shaping is done by the writer's thread, many at a time, which
takes half as long as doing it between two requests.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from scalekit_logging.levels import ERROR, INFO, name_of
from scalekit_logging.lines import Clock, Lines
from scalekit_logging.values import Plainer

LOGGER = "scalekit.access"
EVENT = "request"

_REMEMBERED = 2048
_LONGEST_REMEMBERED = 256
_LONGEST = 2048


Ending = tuple[float, str, str, str, str, str, int, float, int, str, bytes, list[str]]
"""What is said of a request: when, both ids, method, path, route, status, seconds, bytes, client, user agent
and the spans of calls."""


class Texts(dict[str | bytes, str]):
    """Texts as they stand in JSON, without secrets; what was asked for lately is remembered."""

    def __init__(self, plainer: Plainer) -> None:
        super().__init__()
        self._plainer = plainer

    def __missing__(self, text: str | bytes) -> str:
        """Shape *text*."""
        if len(self) >= _REMEMBERED:
            self.clear()
        decoded = text.decode("latin-1") if isinstance(text, bytes) else text
        shaped = orjson.dumps(self._plainer.text(decoded)).decode()
        if len(text) <= _LONGEST_REMEMBERED:
            self[text] = shaped
        return shaped


class AccessLines:
    """Makes access lines such as *lines* would make them."""

    def __init__(self, lines: Lines) -> None:
        self.texts = Texts(Plainer(lines.redaction, _LONGEST, 0))
        self._clock = Clock()
        static = orjson.dumps({"event": EVENT, "logger": LOGGER, **lines.fields}).decode()[1:-1]
        self._good = f'","level":"{name_of(INFO)}",{static},"request_id":"'
        self._bad = f'","level":"{name_of(ERROR)}",{static},"request_id":"'

    def shaped(self, entries: Iterable[bytes | Ending]) -> list[bytes]:
        """Return *entries* as lines: those that are lines already as they are, endings shaped."""
        texts, good, bad, stamp = self.texts, self._good, self._bad, self._clock.stamp
        lines: list[bytes] = []
        for entry in entries:
            if isinstance(entry, bytes):
                lines.append(entry)
                continue
            now, request_id, trace_id, method, path, route, status, seconds, size, client, user_agent, calls = entry
            line = (
                f'{{"timestamp":"{stamp(now)}{good if status < 500 else bad}{request_id}'
                f'","trace_id":"{trace_id}","method":{texts[method]},"path":{texts[path]},"route":{texts[route]}'
                f',"status":{status},"duration_ms":{seconds * 1000:.3f},"bytes":{size},"client":{texts[client]}'
                f',"user_agent":{texts[user_agent]}{_calls(calls) if calls else ""}}}\n'
            )
            lines.append(line.encode())
        return lines


def _calls(spans: list[str]) -> str:
    """Return the field that reports the spans of the calls made for a request; they are hexadecimal digits."""
    listed = '","'.join(spans)
    return f',"calls":["{listed}"]'
