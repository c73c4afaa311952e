"""The traces that were kept lately, in bounded memory: references to their records, which are resolved when shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from time import perf_counter, time
from typing import Any

from scalekit.telemetry import FinishedSpan, Span, SpanRecord, Trace, finished_spans
from scalekit_console.span_formatter import SpanFormatter

FAILED, SLOW, OTHER = "failed", "slow", "other"
GROUPS = (FAILED, SLOW, OTHER)
"""Reasons for which traces are kept; all others are in the last group."""
MAX_TRACES = 50
"""Traces of a group."""
MAX_SPANS = 1_000
"""Spans of a trace."""
MAX_BYTES = 8 << 20
"""Estimated memory of all traces together."""
SPAN_BYTES = 500
"""Estimated memory of a span beside its texts."""
MAX_DEPTH = 4
"""Depth of values whose texts are counted."""
MAX_FOUND = 20
"""Traces that are shown together: those of one request id."""
SHOWN_CHARACTERS = 500_000
"""Characters of names and attributes of all spans that are shown together."""


class RecentTrace:
    """A trace that was kept for *reason*; its root is the first of ``records``."""

    __slots__ = ("epoch", "reason", "records", "size", "trace")

    def __init__(self, trace: Trace, reason: str) -> None:
        self.trace = trace
        self.reason = reason
        self.epoch = time() - perf_counter()
        self.records: list[SpanRecord] = []
        self.size = 0

    def spans(self, records: Sequence[SpanRecord]) -> Iterator[FinishedSpan]:
        """Yield the spans of *records*, without those whose type fails on its values."""
        for record in records:
            try:
                yield from finished_spans(self.trace, [record], self.epoch)
            except Exception:  # a fault of a plugin, or of values that the application has changed
                continue


class RecentTraces:
    """The latest MAX_TRACES of each group; spans may end in any thread."""

    def __init__(self, formatter: SpanFormatter) -> None:
        self._formatter = formatter
        self._groups: dict[str, deque[RecentTrace]] = {name: deque() for name in GROUPS}
        self._by_trace: dict[Trace, RecentTrace] = {}
        self._size = 0
        self._lock = Lock()

    def keep(self, trace: Trace, reason: str) -> None:
        """Keep *trace*, which ends now."""
        group = self._groups.get(reason, self._groups[OTHER])
        with self._lock:
            self._by_trace[trace] = kept = RecentTrace(trace, reason)
            group.append(kept)
            if len(group) > MAX_TRACES:
                self._forget_oldest(group)

    def add(self, trace: Trace, records: Sequence[SpanRecord]) -> None:
        """Add spans of *trace* that have ended, unless it has been forgotten."""
        with self._lock:
            kept = self._by_trace.get(trace)
            if kept is None:
                return
            added = records[: MAX_SPANS - len(kept.records)]
            size = sum(map(_size_of, added))
            kept.records.extend(added)
            kept.size += size
            self._size += size
            while self._size > MAX_BYTES:
                self._forget_oldest(max(self._groups.values(), key=len))

    def describe(self) -> list[dict[str, Any]]:
        """Return the root of every trace, the newest first."""
        return [summary for each in self._newest_first() if (summary := self._summary(each)) is not None]

    def find(self, identifier: str) -> list[dict[str, Any]]:
        """Return the traces whose trace id or request id is *identifier*, with all spans.

        Attributes beyond SHOWN_CHARACTERS are left out.
        """
        room = SHOWN_CHARACTERS
        found: list[dict[str, Any]] = []
        for each in self._newest_first():
            context = each.trace.context
            if identifier not in (context.request_id, context.trace_id) or len(found) == MAX_FOUND:
                continue
            summary = self._summary(each)
            if summary is None:
                continue
            spans = [self._formatter.describe(span) for span in each.spans(each.records)]
            for span in spans:
                room -= _size_of_text(span)
                if room < 0:
                    span.update(attributes={}, events=[], links=[])
            found.append({**summary, "dropped": each.trace.dropped, "cut": room < 0, "spans": spans})
        return found

    def _newest_first(self) -> list[RecentTrace]:
        with self._lock:
            traces = [each for group in self._groups.values() for each in group if each.records]
        return sorted(traces, key=lambda each: each.epoch + each.records[0][3], reverse=True)

    def _forget_oldest(self, group: deque[RecentTrace]) -> None:
        forgotten = group.popleft()
        self._size -= forgotten.size
        del self._by_trace[forgotten.trace]

    def _summary(self, kept: RecentTrace) -> dict[str, Any] | None:
        root = next(kept.spans(kept.records[:1]), None)
        if root is None:
            return None
        context = kept.trace.context
        described = self._formatter.describe(root)
        return {
            "reason": kept.reason,
            "request_id": context.request_id,
            "trace_id": context.trace_id,
            "began": root.began_ns / 1e9,
            "seconds": (root.ended_ns - root.began_ns) / 1e9,
            "name": described["name"],
            "method": described["attributes"].get("http.request.method", ""),
            "path": described["attributes"].get("url.path", ""),
            "status": described["attributes"].get("http.response.status_code", ""),
            "error": described["error"],
        }


def _size_of(record: SpanRecord) -> int:
    """Return about how many bytes *record* keeps in memory."""
    _, _, _, _, values, error, span = record
    size = SPAN_BYTES + len(error) + _size_of_text(values)
    if isinstance(span, Span) and span.details is not None:
        details = span.details
        size += _size_of_text(details.attributes) + _size_of_text(tuple(details.events or ()))
    return size


def _size_of_text(value: object, depth: int = MAX_DEPTH) -> int:
    """Return the length of all texts in *value*."""
    if isinstance(value, str | bytes):
        return len(value)
    if depth == 0:
        return 0
    if isinstance(value, Mapping):
        return sum(_size_of_text(name) + _size_of_text(each, depth - 1) for name, each in value.items())
    if isinstance(value, list | tuple):
        return sum(_size_of_text(each, depth - 1) for each in value)
    return 0
