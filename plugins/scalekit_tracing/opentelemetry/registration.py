"""Make ScaleKit the tracer provider of opentelemetry-api."""

from __future__ import annotations

import logging
from importlib.metadata import version

logger = logging.getLogger("scalekit.tracing")


def register_provider() -> None:
    """Make ScaleKit the tracer provider of this process, when opentelemetry-api is installed and has none.

    Applications of one process share the provider, which has no state: a span belongs to the trace of its request.
    Call this when the application has started: until then it may set a provider of its own.
    """
    try:
        from opentelemetry import context, trace
    except ImportError:
        return
    current = trace.get_tracer_provider()
    if not isinstance(current, trace.ProxyTracerProvider):
        logger.info("opentelemetry-api: %s is the tracer provider already", type(current).__name__)
        return
    try:
        from scalekit_tracing.opentelemetry.api_span import trace_state
        from scalekit_tracing.opentelemetry.provider import SpanTracerProvider
        from scalekit_tracing.opentelemetry.runtime_context import SpanRuntimeContext

        previous = context._RUNTIME_CONTEXT
        trace_state("")
    except (ImportError, AttributeError) as error:  # what is not public may change
        logger.warning("opentelemetry-api %s is not supported: %s", version("opentelemetry-api"), error)
        return
    provider = SpanTracerProvider()
    trace.set_tracer_provider(provider)
    if trace.get_tracer_provider() is provider:
        context._RUNTIME_CONTEXT = SpanRuntimeContext(previous)
