"""The contract of tracing, for plugins whose work has no request: deliveries, schedules, refreshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from scalekit.context import Key
from scalekit.http.trace_context import TraceContext
from scalekit.telemetry import Span, SpanRecord, SpanType, Trace


class Tracer(Protocol):
    """Begins and ends traces in this process, apart from those of requests."""

    def begin(self, context: TraceContext) -> Span:
        """Return the local root span of the trace of *context*, which is to be set as CURRENT_SPAN."""
        ...

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
        """End *root*, and export its trace when it is kept.

        *began* is its begin in seconds of :func:`time.perf_counter`, *values* are those of *span_type*. Durations are
        compared with others of the same *route*. The work has *failed*, or ended with *error*, which is reported too.
        """
        ...


TRACER: Key[Tracer] = Key("tracer", plugin="tracing")
"""Provided by the plugin ``tracing`` while it runs."""


class KeptTraces(Protocol):
    """Keeps references to kept traces, beside their export; called in any thread."""

    def keep(self, trace: Trace, reason: str) -> None:
        """Keep *trace*, which ends now: it ``failed``, was ``slow``, or is kept for another *reason*."""
        ...

    def add(self, trace: Trace, records: Sequence[SpanRecord]) -> None:
        """Add spans of *trace* that have ended, the local root first; those that end later follow."""
        ...


KEPT_TRACES: Key[KeptTraces] = Key("kept traces", plugin="console")
"""Provided by a plugin that shows traces, before filters are created."""
