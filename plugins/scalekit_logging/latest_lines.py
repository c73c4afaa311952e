"""The latest lines in memory, for the console: the writer thread adds its batches as they are, without a copy."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Any

import orjson

from scalekit.contracts import LogLine
from scalekit_logging.levels import NUMBERS
from scalekit_logging.sinks import Loss

MAX_BYTES = 1 << 20
"""Bytes of lines that are kept."""
MAX_FOUND = 200
"""Lines that a search returns: the newest."""
OVERHEAD = 64
"""Bytes of a batch beside its text."""
_HEAD = ("timestamp", "level", "logger", "event", "request_id", "trace_id", "exception")
_OF_PROCESS = ("worker", "pid", "service")
"""Fields that are equal in all lines of a process."""


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Which lines are wanted: of at least *level*, of *logger* and its children, with *text*, of *request*.

    *request* is a request id or trace id. Empty values are not compared.
    """

    level: str = ""
    logger: str = ""
    text: str = ""
    request: str = ""

    def tests(self) -> list[Callable[[bytes], bool]]:
        """Return the tests that a line, which is not parsed yet, passes."""
        tests: list[Callable[[bytes], bool]] = []
        if self.request:
            wanted = _escaped(self.request)
            tests.append(lambda line: wanted in line)
        if self.text:
            text = _escaped(self.text).decode().casefold()
            tests.append(lambda line: text in line.decode().casefold())
        return tests

    def accepts(self, line: Mapping[str, Any]) -> bool:
        """Return whether the parsed *line* is wanted, which has passed the tests."""
        if self.request and self.request not in (line.get("request_id"), line.get("trace_id")):
            return False
        if self.logger and not f"{line['logger']}.".startswith(f"{self.logger}."):
            return False
        return not self.level or NUMBERS[line["level"]] >= NUMBERS[self.level]


class LatestLines:
    """A sink that keeps the latest MAX_BYTES of lines."""

    name = "console page"

    def __init__(self) -> None:
        self._batches: deque[bytes] = deque()
        self._size = 0
        self._lock = Lock()

    def open(self) -> None:
        """Do nothing: memory is open."""

    def close(self) -> None:
        """Do nothing: the lines can still be read."""

    def pending(self) -> int:
        """Return 0: no line waits."""
        return 0

    def write(self, text: bytes) -> Loss | None:
        """Keep the lines of *text*, and forget the oldest beyond MAX_BYTES."""
        if text:
            kept = _last_lines(text)
            with self._lock:
                self._batches.append(kept)
                self._size += len(kept) + OVERHEAD
                while self._size > MAX_BYTES + OVERHEAD:
                    self._size -= len(self._batches.popleft()) + OVERHEAD
        return None

    def of_request(self, identifier: str) -> list[LogLine]:
        """Return the lines whose request id or trace id is *identifier*, oldest first."""
        return self.find(LineFilter(request=identifier))[::-1]

    def find(self, wanted: LineFilter) -> list[LogLine]:
        """Return the newest MAX_FOUND lines that are *wanted*, newest first."""
        return list(islice(self._matching(wanted), MAX_FOUND))

    def _matching(self, wanted: LineFilter) -> Iterator[LogLine]:
        tests = wanted.tests()
        with self._lock:
            batches = list(self._batches)
        for batch in reversed(batches):
            for line in reversed(batch.splitlines()):
                if all(test(line) for test in tests):
                    parsed = orjson.loads(line)
                    if wanted.accepts(parsed):
                        yield _log_line(parsed)


def _last_lines(text: bytes) -> bytes:
    """Return the complete lines in the last MAX_BYTES of *text*."""
    if len(text) <= MAX_BYTES:
        return text
    return text[text.index(b"\n", len(text) - MAX_BYTES - 1) + 1 :]


def _escaped(text: str) -> bytes:
    """Return *text* as it is in a line."""
    return orjson.dumps(text.encode("utf-8", "replace").decode())[1:-1]


def _log_line(line: Mapping[str, Any]) -> LogLine:
    more = {name: value for name, value in line.items() if name not in _HEAD and name not in _OF_PROCESS}
    fields = " ".join(f"{name}={_shown(value)}" for name, value in more.items())
    head = {name: _shown(line.get(name, "")) for name in _HEAD}
    return LogLine(fields=fields, **head)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
