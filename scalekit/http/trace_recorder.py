"""Record the spans of each request for its developer, in place of the plugin ``tracing``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter, time

from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter
from scalekit.telemetry.finished_span import FinishedSpan, finished_spans
from scalekit.telemetry.spans import CURRENT_SPAN, Span, SpanKind, SpanRecord, SpanType, Trace, error_type

Report = Callable[[Sequence[FinishedSpan]], None]

REQUEST_SPAN = SpanType(SpanKind.SERVER, lambda name, attributes: name, lambda name, attributes: attributes)


class TraceRecorder(Filter):
    """Passes the spans of each request to *report* when it ends."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_request(self, exchange: Exchange) -> Decision:
        """Begin the trace."""
        exchange.span = Span(Trace(exchange.trace_context))
        return None

    on_open = on_request

    def on_application(self, exchange: Exchange) -> None:
        """Let the application record spans."""
        exchange.set_context(CURRENT_SPAN, exchange.span)

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        """Report the spans; those that end later are missing."""
        root = exchange.span
        if root is None:
            return
        failure = "" if error is None else error_type(type(error))
        name = f"{exchange.scope.get('method', 'GET')} {exchange.path}"
        attributes = {"http.route": exchange.route, "http.response.status_code": exchange.status}
        own: SpanRecord = (None, REQUEST_SPAN, exchange.began, perf_counter(), (name, attributes), failure, root)
        trace = root.trace
        self._report(list(finished_spans(trace, [own, *trace.close()], time() - perf_counter())))

    on_close = on_complete
