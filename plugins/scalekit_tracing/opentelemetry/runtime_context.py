"""The current context of opentelemetry-api, whose current span is that of ScaleKit.

ScaleKit has its current span in ``CURRENT_SPAN``. A second variable would cost time in each request: so the current
context is derived from ``CURRENT_SPAN`` when a library reads it, and attaching a context sets ``CURRENT_SPAN``.
"""

from __future__ import annotations

from contextvars import Token
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context, create_key
from opentelemetry.context.context import _RuntimeContext

from scalekit.telemetry import CURRENT_SPAN, Span
from scalekit_tracing.opentelemetry.api_span import ApiSpan
from scalekit_tracing.tracer import OwnTrace

OWN_SPAN = create_key("scalekit-span")
"""The key of ScaleKit's current span at the time when a context became the current one."""


class AttachToken(NamedTuple):
    """Restores what :meth:`SpanRuntimeContext.attach` has replaced."""

    context: Any
    span: Token[Span | None] | None


def recorded_span() -> Span | None:
    """Return the current span, or None outside of a trace and in one that records no spans of the API."""
    own = CURRENT_SPAN.get()
    return None if own is None or isinstance(own.trace, OwnTrace) else own


class SpanRuntimeContext(_RuntimeContext):
    """Adds the current span to the contexts of *previous*."""

    def __init__(self, previous: _RuntimeContext) -> None:
        self._previous = previous

    def get_current(self) -> Context:
        """Return the current context; a span of ScaleKit that began since it was attached is its span."""
        context = self._previous.get_current()
        own = recorded_span()
        if context.get(OWN_SPAN) is own:
            return context
        span = trace.INVALID_SPAN if own is None else ApiSpan(own)
        return Context({**trace.set_span_in_context(span, context), OWN_SPAN: own})

    def attach(self, context: Context) -> Any:
        """Make *context* the current one, and its span the parent of ScaleKit's spans.

        Without a span of ours, such as the remote one of a request's headers, the parent remains: spans must not get
        lost because a framework reads those headers too.
        """
        span = trace.get_current_span(context)
        own = span.own if isinstance(span, ApiSpan) else context.get(OWN_SPAN) or recorded_span()
        token = self._previous.attach(Context({**context, OWN_SPAN: own}))
        return AttachToken(token, CURRENT_SPAN.set(own) if isinstance(own, Span) else None)

    def detach(self, token: Any) -> None:
        """Restore the context and the span that an :meth:`attach` has replaced."""
        if not isinstance(token, AttachToken):  # attached before this was the runtime context
            self._previous.detach(token)
            return
        try:
            if token.span is not None:
                CURRENT_SPAN.reset(token.span)
        finally:
            self._previous.detach(token.context)
