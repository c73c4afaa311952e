"""The line of one request, shaped by hand: it is written for every request and nothing in it is of unknown type.

The request's path only puts down what is to be said. The writer's thread shapes the lines, many at a time, which takes
half as long as between two requests. What is equal in many lines is shaped once and remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import orjson

from scalekit_logging.levels import ERROR, INFO, name_of
from scalekit_logging.lines import Lines, second_text
from scalekit_logging.values import Plainer

LOGGER = "scalekit.access"
EVENT = "request"
REMEMBERED = 2048
"""How many entries each memo has at most."""

_LONGEST_REMEMBERED = 256
_LONGEST = 2048


Ending = tuple[float, str, str, str, str, str, int, float, int, str, bytes, list[str]]
"""What is said of a request: when, both ids, method, path, route, status, seconds, bytes, client, user agent
and the spans of calls."""


class Texts(dict[str | bytes, str]):
    """A memo of texts as they stand in JSON, without secrets."""

    def __init__(self, plainer: Plainer) -> None:
        super().__init__()
        self._plainer = plainer

    def __missing__(self, text: str | bytes) -> str:
        """Shape *text*."""
        decoded = text.decode("latin-1") if isinstance(text, bytes) else text
        shaped = orjson.dumps(self._plainer.text(decoded)).decode()
        if len(text) <= _LONGEST_REMEMBERED:
            _make_room(self)
            self[text] = shaped
        return shaped


class Segments(dict[tuple[str, str, int], tuple[str, str, str]]):
    """A memo of what method, route and status decide: the text before the request id, the path and the duration."""

    def __init__(self, texts: Texts, static: str) -> None:
        super().__init__()
        self._texts = texts
        self._static = static

    def __missing__(self, key: tuple[str, str, int]) -> tuple[str, str, str]:
        """Shape the segments of *key*."""
        method, route, status = key
        level = name_of(INFO if status < 500 else ERROR)
        segments = (
            f'Z","level":"{level}",{self._static},"request_id":"',
            f'","method":{self._texts[method]},"path":',
            f',"route":{self._texts[route]},"status":{status},"duration_ms":',
        )
        if len(method) + len(route) <= _LONGEST_REMEMBERED:
            _make_room(self)
            self[key] = segments
        return segments


class AccessLines:
    """Makes access lines such as *lines* would make them."""

    def __init__(self, lines: Lines) -> None:
        plainer = Plainer(lines.redaction, _LONGEST, 0)
        static = orjson.dumps({"event": EVENT, "logger": LOGGER, **lines.fields}).decode()[1:-1]
        self._texts = Texts(plainer)
        self._paths = Texts(plainer)  # of which many never come again, and must not push out the others
        self._segments = Segments(self._texts, static)
        self._second = (inf, "")
        self.memos = (self._texts, self._paths, self._segments)

    def shaped(self, entries: Iterable[bytes | Ending]) -> list[bytes]:
        """Return *entries* as lines: those that are lines already as they are, endings shaped."""
        texts, paths, segments = self._texts, self._paths, self._segments
        lines: list[bytes] = []
        began, prefix = self._second
        for entry in entries:
            if isinstance(entry, bytes):
                lines.append(entry)
                continue
            now, request_id, trace_id, method, path, route, status, seconds, size, client, user_agent, calls = entry
            past = now - began
            if not 0.0 <= past < 1.0:
                began = now // 1.0
                past = now - began
                prefix = f'{{"timestamp":"{second_text(began)}'
            micros = int(past * 1e6)
            before_id, before_path, before_duration = segments[method, route, status]
            line = (
                f"{prefix}{micros if micros > 99_999 else f'{micros:06}'}{before_id}{request_id}"
                f'","trace_id":"{trace_id}{before_path}{paths[path]}{before_duration}{"%.3f" % (seconds * 1e3)}'
                f',"bytes":{size},"client":{texts[client]},"user_agent":{texts[user_agent]}'
                f"{_calls(calls) if calls else ''}}}\n"
            )
            lines.append(line.encode())
        self._second = began, prefix
        return lines


def _make_room(memo: Texts | Segments) -> None:
    if len(memo) >= REMEMBERED:
        memo.clear()


def _calls(spans: list[str]) -> str:
    """Return the field that reports the spans of the calls made for a request; they are hexadecimal digits."""
    listed = '","'.join(spans)
    return f',"calls":["{listed}"]'
