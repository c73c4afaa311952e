"""Tell clients the trace of their request, and operators where its time went (W3C Server Timing)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from time import perf_counter

from scalekit import Exchange, Filter, OperatorAccess
from scalekit.telemetry import FinishedSpan, Span, finished_spans

SERVER_TIMING = b"server-timing"
SYSTEMS = ("db.system.name", "messaging.system")
"""Attributes of spans whose value names the server on which the time was spent."""
HTTP = "http"
"""The metric of calls of other services."""
MAX_METRICS = 16
_NO_TOKEN = re.compile(r"[^A-Za-z0-9._-]+")


class ServerTimingFilter(Filter):
    """Adds ``Server-Timing`` to the responses to operators, whom *access* admits.

    Other clients receive the trace only, when *traces_for_all*.
    """

    def __init__(self, access: OperatorAccess, *, traces_for_all: bool) -> None:
        self._access = access
        self._traces_for_all = traces_for_all

    def on_response_start(self, exchange: Exchange) -> None:
        """Add the header."""
        root = exchange.span
        if root is None:
            return
        metrics: list[str] = []
        if self._access.admits(exchange.scope):
            metrics = [trace_metric(root), *duration_metrics(exchange.began, root)]
        elif self._traces_for_all:
            metrics = [trace_metric(root)]
        if metrics:
            exchange.response_headers.append((SERVER_TIMING, ", ".join(metrics).encode()))


def trace_metric(root: Span) -> str:
    """Return the trace and the span of the request (W3C Trace Context level 3, draft)."""
    context = root.trace.context
    return f"trace;desc=00-{context.trace_id}-{root.span_id}-{context.flags}"


def duration_metrics(began: float, root: Span) -> list[str]:
    """Return the time since *began*, and the sums of those spans that have ended on other servers, in milliseconds."""
    total = [f"total;dur={(perf_counter() - began) * 1e3:.3f}"]
    try:
        sums = _sums(finished_spans(root.trace, root.trace.records.copy(), 0.0))
    except Exception:  # an attribute of a plugin that fails must not end the request
        return total
    return total + [f"{name};dur={nanoseconds / 1e6:.3f}" for name, nanoseconds in sums.items()]


def _sums(spans: Iterable[FinishedSpan]) -> dict[str, int]:
    """Return the durations of *spans* by server; further names than MAX_METRICS are omitted."""
    sums: dict[str, int] = {}
    for span in spans:
        name = _server(span)
        if name and (name in sums or len(sums) < MAX_METRICS):
            sums[name] = sums.get(name, 0) + span.ended_ns - span.began_ns
    return sums


def _server(span: FinishedSpan) -> str:
    """Return the name of the server of *span* as a token, empty for spans of this process."""
    for attribute in SYSTEMS:
        if attribute in span.attributes:
            return _NO_TOKEN.sub("-", str(span.attributes[attribute]))
    return HTTP if "http.request.method" in span.attributes else ""
