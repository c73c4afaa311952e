"""Spans of background refreshes, and of requests that wait for the response of another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter

from scalekit import Context
from scalekit.contracts import TRACER
from scalekit.telemetry import CURRENT_SPAN, Span, SpanKind, SpanType, record_span
from scalekit_cache.http_cache import RefreshResult
from scalekit_cache.single_flight import Flight, FlightOutcome

WAIT_SPAN = SpanType(
    SpanKind.INTERNAL, lambda outcome: "cache single flight", lambda outcome: {"scalekit.cache.outcome": outcome}
)
"""Waiting for the leader of a single flight; its value is the outcome, and it is linked to the leader's span."""
REFRESH_SPAN = SpanType(SpanKind.INTERNAL, lambda: "cache refresh", dict)
"""A background refresh; it has no values."""


async def wait_for_leader(flight: Flight, timeout: float) -> FlightOutcome:
    """Wait for the response of *flight* to start, for *timeout* seconds at most, and record the span."""
    began = perf_counter()
    outcome = await flight.wait_started(timeout)
    current = CURRENT_SPAN.get()
    if current is not None:
        own = Span(current.trace)
        if flight.leader is not None:
            own.add_link(flight.leader.trace.context.trace_id, flight.leader.span_id)
        record_span(WAIT_SPAN, began, (outcome.name.lower(),), span=own)
    return outcome


async def traced_refresh(context: Context, refresh: Callable[[], Awaitable[RefreshResult]]) -> RefreshResult:
    """Run *refresh* below a root of its own, in the trace of the request that has caused it.

    The refresh ends after that request: whether it is kept is decided by its own outcome.
    """
    cause = CURRENT_SPAN.get()
    if cause is None or not context.has(TRACER):
        return await refresh()
    tracer = context.get(TRACER)
    root = tracer.begin(cause.trace.context._replace(parent_id=cause.span_id))
    CURRENT_SPAN.set(root)  # the task has a context of its own
    began = perf_counter()
    failed = True
    try:
        result = await refresh()
        failed = result.failed
    finally:
        tracer.end(root, REFRESH_SPAN, began, (), route="cache refresh", failed=failed)
    return result
