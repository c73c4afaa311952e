"""Spans of outgoing requests: one for each attempt of a call, whose id the request carries (``traceparent``)."""

from __future__ import annotations

from time import perf_counter
from typing import NamedTuple

import aiohttp

from scalekit.telemetry import Attributes, SpanKind, SpanType, error_type, record_span
from scalekit_discovery.attempt import CallRequest, attempt
from scalekit_discovery.load_balancer import Endpoint
from scalekit_discovery.propagation import CallDeadline
from scalekit_discovery.upstream import Upstream

TRACEPARENT = "traceparent"
SPAN_ID = slice(36, 52)
"""The place of the span id in a ``traceparent`` of version 00."""
CLIENT_ERROR = 400


class Attempt(NamedTuple):
    """An attempt of a call of *service*, after *resends* earlier ones; *status* is 0 without a response."""

    service: str
    method: str
    path: str
    endpoint: Endpoint
    resends: int
    status: int


def _attributes(attempted: Attempt) -> Attributes:
    """Return the attributes of a client span (OpenTelemetry semantic conventions, HTTP, stable)."""
    instance, status = attempted.endpoint.instance, attempted.status
    attributes: Attributes = {
        "http.request.method": attempted.method,
        "server.address": instance.address,
        "server.port": instance.port,
        "url.full": attempted.endpoint.base_url + attempted.path.partition("?")[0],
        "scalekit.service": attempted.service,
        "scalekit.instance": instance.id,
    }
    if attempted.resends:
        attributes["http.request.resend_count"] = attempted.resends
    if status:
        attributes["http.response.status_code"] = status
    return attributes


ATTEMPT_SPAN = SpanType(SpanKind.CLIENT, lambda attempted: f"{attempted.method} {attempted.service}", _attributes)
"""An attempt; its value is an Attempt."""


async def recorded_attempt(
    upstream: Upstream,
    endpoint: Endpoint,
    request: CallRequest,
    deadline: CallDeadline,
    *,
    resends: int,
    may_retry: bool,
    span_id: str,
) -> aiohttp.ClientResponse:
    """Make an :func:`attempt`, after *resends* earlier ones, and record its span.

    *span_id* is its id, which the request carries unless the application has set ``traceparent`` itself.
    """
    began = perf_counter()

    def record(status: int, error: str) -> None:
        attempted = Attempt(upstream.name, request.method, request.path, endpoint, resends, status)
        record_span(ATTEMPT_SPAN, began, (attempted,), error=error, span=span_id)

    try:
        response = await attempt(upstream, endpoint, request, deadline, may_retry=may_retry)
    except BaseException as error:
        record(0, error_type(type(error)))
        raise
    record(response.status, str(response.status) if response.status >= CLIENT_ERROR else "")
    return response
