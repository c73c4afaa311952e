"""Spans of outgoing requests: one for each attempt of a call, whose id the request carries (``traceparent``)."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import aiohttp

from scalekit.telemetry import Attributes, SpanKind, SpanType, error_type, record_span
from scalekit_discovery.attempt import CallRequest, attempt
from scalekit_discovery.load_balancer import Endpoint
from scalekit_discovery.propagation import CallDeadline
from scalekit_discovery.upstream import Upstream

SPAN_ID = slice(36, 52)
"""The place of the span id in a ``traceparent`` of version 00."""
CLIENT_ERROR = 400


def _attributes(service: str, method: str, endpoint: Endpoint, path: str, resends: int, status: int) -> Attributes:
    """Return the attributes of a client span (OpenTelemetry semantic conventions, HTTP, stable)."""
    instance = endpoint.instance
    attributes: Attributes = {
        "http.request.method": method,
        "server.address": instance.address,
        "server.port": instance.port,
        "url.full": endpoint.base_url + path.partition("?")[0],
        "scalekit.service": service,
        "scalekit.instance": instance.id,
    }
    if resends:
        attributes["http.request.resend_count"] = resends
    if status:
        attributes["http.response.status_code"] = status
    return attributes


ATTEMPT_SPAN = SpanType(SpanKind.CLIENT, lambda service, method, *_: f"{method} {service}", _attributes)
"""An attempt; its values are service, method, endpoint, path, number of earlier attempts, and status (0 without)."""


async def recorded_attempt(
    upstream: Upstream,
    endpoint: Endpoint,
    request: CallRequest,
    deadline: CallDeadline,
    resends: int,
    *,
    may_retry: bool,
) -> aiohttp.ClientResponse:
    """Make an :func:`attempt`, after *resends* earlier ones, and record its span."""
    began = perf_counter()
    span_id = request.options["headers"].get("traceparent", "")[SPAN_ID]

    def record(status: int, error: str) -> None:
        values: tuple[Any, ...] = (upstream.name, request.method, endpoint, request.path, resends, status)
        record_span(ATTEMPT_SPAN, began, values, error=error, span=span_id)

    try:
        response = await attempt(upstream, endpoint, request, deadline, may_retry=may_retry)
    except BaseException as error:
        record(0, error_type(type(error)))
        raise
    record(response.status, str(response.status) if response.status >= CLIENT_ERROR else "")
    return response
