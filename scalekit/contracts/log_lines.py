"""Contract of the latest lines of the log of this process, for pages of the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from scalekit.context import Key


class LogLine(NamedTuple):
    """A line of the log; *fields* is a text with its other fields, *exception* a stack trace, empty without one."""

    timestamp: str
    level: str
    logger: str
    event: str
    request_id: str
    trace_id: str
    fields: str
    exception: str


class LatestLogLines(Protocol):
    """The latest lines of this process, in bounded memory; secrets in them are masked."""

    def of_request(self, identifier: str) -> Sequence[LogLine]:
        """Return the lines whose request id or trace id is *identifier*, oldest first."""
        ...


LATEST_LOG_LINES: Key[LatestLogLines] = Key("latest log lines", plugin="logging")
"""The latest lines; there are none unless a plugin shows pages."""
