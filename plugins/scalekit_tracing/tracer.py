"""Begin and end the traces of this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter, time
from typing import Any

from scalekit import TraceContext
from scalekit.telemetry import Span, SpanRecord, SpanType, Trace
from scalekit.telemetry.finished_span import FinishedSpan, finished_spans
from scalekit_tracing.metrics import TracingMetrics
from scalekit_tracing.sampling import SAMPLED, Sampler


class KeptTrace:
    """Spans of one trace that are exported: all of them, or one that ended late."""

    __slots__ = ("_epoch", "records", "trace")

    def __init__(self, trace: Trace, records: Sequence[SpanRecord]) -> None:
        self.trace = trace
        self.records = records
        self._epoch = time() - perf_counter()

    def spans(self) -> list[FinishedSpan]:
        """Return the spans."""
        return list(finished_spans(self.trace, self.records, self._epoch))


class Tracer:
    """Begins a trace for each request, and passes those that *sampler* keeps to *export*."""

    def __init__(self, sampler: Sampler, export: Callable[[KeptTrace], None], metrics: TracingMetrics) -> None:
        self._sampler = sampler
        self._export = export
        self._metrics = metrics

    def begin(self, context: TraceContext) -> Span:
        """Return the root span, in this process, of the trace of *context*; it has the flag sampled where that is due.

        The outgoing calls of a new trace tell their servers whether it is sampled, long before its end.
        """
        if not context.parent_id and self._sampler.samples(context):
            context = context._replace(flags=f"{int(context.flags, 16) | SAMPLED:02x}")
        return Span(Trace(context))

    def keep(self, root: Span, route: str, seconds: float, *, failed: bool) -> bool:
        """Return whether the trace of *root*, which ends now, is kept; close it when it is not."""
        trace = root.trace
        reason = self._sampler.reason(trace.context, route, seconds, failed=failed)
        if not reason:
            trace.close()
            return False
        self._metrics.count_kept(reason)
        return True

    def export(self, root: Span, span_type: SpanType, began: float, values: Sequence[Any], error: str = "") -> None:
        """End the kept trace of *root*, and export its spans and those that end later."""
        trace = root.trace
        trace.close(lambda late: self._export(KeptTrace(trace, [late])))
        ended: SpanRecord = (None, span_type, began, perf_counter(), values, error, root)
        self._export(KeptTrace(trace, [ended, *trace.records]))

    def end(
        self, root: Span, span_type: SpanType, began: float, values: Sequence[Any], *, route: str, error: str = ""
    ) -> None:
        """End *root*, and export its trace when it is kept; see the contract of tracing."""
        if self.keep(root, route, perf_counter() - began, failed=bool(error)):
            self.export(root, span_type, began, values, error)
