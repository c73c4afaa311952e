"""Begin and end the traces of this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from scalekit import TraceContext, parse_trace_context
from scalekit.contracts import KeptTraces
from scalekit.telemetry import Span, SpanRecord, SpanType, Trace, error_type
from scalekit_tracing.errors.error_event import ErrorSource
from scalekit_tracing.errors.reporter import ErrorReporter
from scalekit_tracing.exception_event import add_exception
from scalekit_tracing.kept_trace import KeptTrace
from scalekit_tracing.metrics import TracingMetrics
from scalekit_tracing.sampling import SAMPLED, Sampler


class OwnTrace(Trace):
    """A trace without the spans of libraries that use opentelemetry-api."""

    __slots__ = ()


class SamplingTracer:
    """Begins a trace for each request, and passes those that *sampler* keeps to *export*.

    *trace_type* is OwnTrace where spans of opentelemetry-api are not recorded.
    """

    def __init__(
        self,
        sampler: Sampler,
        export: Callable[[KeptTrace], None],
        metrics: TracingMetrics,
        trace_type: type[Trace] = Trace,
    ) -> None:
        self._sampler = sampler
        self._export = export
        self._metrics = metrics
        self._trace_type = trace_type
        self.errors: ErrorReporter | None = None
        self.kept: KeptTraces | None = None

    def begin(self, context: TraceContext) -> Span:
        """Return the root span, in this process, of the trace of *context*; it has the flag sampled where that is due.

        The outgoing calls of a new trace tell their servers whether it is sampled, long before its end.
        """
        if not context.parent_id and self._sampler.samples(context):
            context = context._replace(flags=f"{int(context.flags, 16) | SAMPLED:02x}")
        return Span(self._trace_type(context))

    def begin_apart(self, context: TraceContext) -> Span:
        """Return the root span of a new trace, linked to that of *context*, whose sender must not choose its ids."""
        root = self.begin(parse_trace_context([])._replace(request_id=context.request_id))
        root.add_link(context.trace_id, context.parent_id)
        return root

    def keep(self, root: Span, route: str, seconds: float, *, failed: bool) -> bool:
        """Return whether the trace of *root*, which ends now, is kept; close it when it is not."""
        trace = root.trace
        reason = self._sampler.reason(trace.context, route, seconds, failed=failed)
        if not reason:
            trace.close()
            return False
        trace.is_kept = True
        self._metrics.count_kept(reason)
        if self.kept is not None:
            self.kept.keep(trace, reason)
        return True

    def export(self, root: Span, span_type: SpanType, began: float, values: Sequence[Any], error: str = "") -> None:
        """End the kept trace of *root*, and export its spans and those that end later."""
        trace = root.trace
        ended: SpanRecord = (None, span_type, began, perf_counter(), values, error, root)
        self._export(KeptTrace(trace, [ended, *trace.close(self._export_late)]))

    def _export_late(self, trace: Trace, record: SpanRecord) -> None:
        self._export(KeptTrace(trace, [record]))

    def end(
        self,
        root: Span,
        span_type: SpanType,
        began: float,
        values: Sequence[Any],
        *,
        route: str,
        error: BaseException | None = None,
        failed: bool = False,
    ) -> None:
        """End *root*, and export its trace when it is kept; see the contract of tracing."""
        if isinstance(error, Exception):
            failed = True
            self.report_error(error, root, route)
        if self.keep(root, route, perf_counter() - began, failed=failed):
            if error is not None:
                add_exception(root, error)
            kind = error_type(type(error)) if error is not None else "failed" if failed else ""
            self.export(root, span_type, began, values, kind)

    def report_error(self, error: BaseException, root: Span, name: str, method: str = "", path: str = "") -> None:
        """Report *error* of the route or consumer *name*."""
        if self.errors is not None:
            context = root.trace.context
            source = ErrorSource(name, method, path, context.request_id, context.trace_id, root.span_id)
            self.errors.report(error, source)
