"""Format the access log line of a request, without a serializer because all of its types are known.

The request's path only puts down what is to be said. The writer's thread shapes the lines, many at a time, which takes
half as long as between two requests. What is equal in many lines is shaped once and remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import orjson

from scalekit_logging.json_formatter import JsonFormatter, second_text
from scalekit_logging.levels import ERROR, INFO, name_of
from scalekit_logging.serialization import ValueSerializer

LOGGER = "scalekit.access"
EVENT = "request"
REMEMBERED = 2048
"""How many entries each memo has at most."""

_LONGEST_REMEMBERED = 256
_LONGEST = 2048


AccessRecord = tuple[float, str, str, str, str, str, int, float, int, str, bytes, list[str]]
"""What is said of a request: when, both ids, method, path, route, status, seconds, bytes, client, user agent
and the spans of calls."""


class EscapedTextCache(dict[str | bytes, bytes]):
    """A memo of texts as they stand in JSON, without secrets."""

    def __init__(self, plainer: ValueSerializer) -> None:
        super().__init__()
        self._plainer = plainer

    def __missing__(self, text: str | bytes) -> bytes:
        """Format *text*."""
        decoded = text.decode("latin-1") if isinstance(text, bytes) else text
        shaped = orjson.dumps(self._plainer.text(decoded))
        if len(text) <= _LONGEST_REMEMBERED:
            _make_room(self)
            self[text] = shaped
        return shaped


class LineTemplateCache(dict[tuple[str, str, int], bytes]):
    """A memo of the formats of lines, one for each method, route and status."""

    def __init__(self, texts: EscapedTextCache, static: bytes) -> None:
        super().__init__()
        self._texts = texts
        self._static = static

    def __missing__(self, key: tuple[str, str, int]) -> bytes:
        """Make the format of *key*; the second of the time, its microseconds and all that follows are left open."""
        method, route, status = key
        level = name_of(INFO if status < 500 else ERROR).encode()
        given = (level, self._static, self._texts[method], self._texts[route])
        level, static, shown_method, shown_route = (each.replace(b"%", b"%%") for each in given)
        made = (
            b'{"timestamp":"%b%06dZ","level":"' + level + b'",' + static + b',"request_id":"%b","trace_id":"%b"'
            b',"method":'
            + shown_method
            + b',"path":%b,"route":'
            + shown_route
            + b',"status":'
            + b"%d" % status
            + b',"duration_ms":%.3f,"bytes":%d,"client":%b,"user_agent":%b%b}\n'
        )
        if len(method) + len(route) <= _LONGEST_REMEMBERED:
            _make_room(self)
            self[key] = made
        return made


class AccessLogFormatter:
    """Makes access lines such as *lines* would make them."""

    def __init__(self, lines: JsonFormatter) -> None:
        plainer = ValueSerializer(lines.redaction, _LONGEST, 0)
        static = orjson.dumps({"event": EVENT, "logger": LOGGER, **lines.fields})[1:-1]
        self._texts = EscapedTextCache(plainer)
        self._paths = EscapedTextCache(plainer)  # of which many never come again, and must not push out the others
        self._formats = LineTemplateCache(self._texts, static)
        self._second = (inf, b"")
        self.memos = (self._texts, self._paths, self._formats)

    def shaped(self, entries: Iterable[bytes | AccessRecord]) -> list[bytes]:
        """Return *entries* as lines: those that are lines already as they are, endings shaped."""
        texts, paths, formats = self._texts, self._paths, self._formats
        lines: list[bytes] = []
        began, second = self._second
        for entry in entries:
            if isinstance(entry, bytes):
                lines.append(entry)
                continue
            now, request_id, trace_id, method, path, route, status, seconds, size, client, user_agent, calls = entry
            past = now - began
            if not 0.0 <= past < 1.0:
                began = now // 1.0
                past = now - began
                second = second_text(began).encode()
            line = formats[method, route, status] % (
                second,
                past * 1e6,
                request_id.encode(),
                trace_id.encode(),
                paths[path],
                seconds * 1e3,
                size,
                texts[client],
                texts[user_agent],
                _calls(calls) if calls else b"",
            )
            lines.append(line)
        self._second = began, second
        return lines


def _make_room(memo: EscapedTextCache | LineTemplateCache) -> None:
    if len(memo) >= REMEMBERED:
        memo.clear()


def _calls(spans: list[str]) -> bytes:
    """Return the field that reports the spans of the calls made for a request; they are hexadecimal digits."""
    listed = '","'.join(spans)
    return f',"calls":["{listed}"]'.encode()
