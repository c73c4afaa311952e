"""A trace that is exported."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter, time

from scalekit.telemetry import FinishedSpan, SpanRecord, Trace, finished_spans


class KeptTrace:
    """Spans of one trace that are exported: all of them, or one that ended late.

    ``weight`` is the number of characters of the application's texts.
    """

    __slots__ = ("_epoch", "records", "trace", "weight")

    def __init__(self, trace: Trace, records: Sequence[SpanRecord]) -> None:
        self.trace = trace
        self.records = records
        self.weight, trace.size = trace.size, 0  # late spans count on their own
        self._epoch = time() - perf_counter()

    @property
    def size(self) -> int:
        """The number of spans."""
        return len(self.records)

    def spans(self) -> list[FinishedSpan]:
        """Return the spans."""
        return list(finished_spans(self.trace, self.records, self._epoch))
