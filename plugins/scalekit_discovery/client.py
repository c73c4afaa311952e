"""The client of one service: send a request to an endpoint, and retry it at others."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

import aiohttp
from aiohttp.client import _RequestContextManager as Call

from scalekit_discovery.attempt import GATEWAY_ERRORS, CallRequest
from scalekit_discovery.load_balancer import Endpoint
from scalekit_discovery.propagation import CallDeadline, call_deadline, trace_headers
from scalekit_discovery.responses import FAILURES, CallFailed
from scalekit_discovery.spans import SPAN_ID, TRACEPARENT, recorded_attempt
from scalekit_discovery.upstream import Upstream

IDEMPOTENT_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))
RESENDABLE_BODIES = (bytes, str, type(None))


class UpstreamClient:
    """The request methods of an aiohttp session, for paths of one service.

    ``async with client.get("/stock/1") as response:`` or ``await client.get("/stock/1")``; options are aiohttp's.
    *timeout* is in seconds, for the call with all its attempts. Redirects are returned and not followed, because they
    would leave the service, its load balancing and its deadline. Raises CallFailed.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def request(self, method: str, path: str, **options: Any) -> Call:
        """Send a request with *method*."""
        return Call(self._call(CallRequest(method.upper(), path, options)))

    def get(self, path: str, **options: Any) -> Call:
        """Send a GET."""
        return Call(self._call(CallRequest("GET", path, options)))

    def head(self, path: str, **options: Any) -> Call:
        """Send a HEAD."""
        return Call(self._call(CallRequest("HEAD", path, options)))

    def options(self, path: str, **options: Any) -> Call:
        """Send an OPTIONS."""
        return Call(self._call(CallRequest("OPTIONS", path, options)))

    def post(self, path: str, **options: Any) -> Call:
        """Send a POST, which is retried only when it could not be sent."""
        return Call(self._call(CallRequest("POST", path, options)))

    def put(self, path: str, **options: Any) -> Call:
        """Send a PUT."""
        return Call(self._call(CallRequest("PUT", path, options)))

    def patch(self, path: str, **options: Any) -> Call:
        """Send a PATCH, which is retried only when it could not be sent."""
        return Call(self._call(CallRequest("PATCH", path, options)))

    def delete(self, path: str, **options: Any) -> Call:
        """Send a DELETE."""
        return Call(self._call(CallRequest("DELETE", path, options)))

    async def _call(self, request: CallRequest) -> aiohttp.ClientResponse:
        upstream, options = self._upstream, request.options
        _check(request)
        options["allow_redirects"] = False
        headers = _lowercase(options.get("headers"))
        started = monotonic()
        timeout = options.pop("timeout", None)
        deadline = call_deadline(started, upstream.timeout if timeout is None else timeout)
        max_retries = upstream.max_retries if isinstance(options.get("data"), RESENDABLE_BODIES) else 0
        idempotent = max_retries and request.method in IDEMPOTENT_METHODS
        if not upstream.load_balancer.endpoints:
            await upstream.wait_for_instances(deadline.at)
        upstream.budget.deposit()
        tried: list[Endpoint] = []
        while True:
            endpoint = upstream.choose(tried)
            retryable = bool(idempotent and len(tried) < max_retries)
            may_retry = retryable and upstream.load_balancer.has_alternative(endpoint, tried, monotonic())
            trace = trace_headers()
            options["headers"] = {**trace, **headers}
            span_id = trace.get(TRACEPARENT, "")[SPAN_ID]
            try:
                response = await recorded_attempt(
                    upstream, endpoint, request, deadline, resends=len(tried), may_retry=may_retry, span_id=span_id
                )
            except FAILURES as error:
                unsent = isinstance(error, aiohttp.ClientConnectorError) and len(tried) < max_retries
                if not ((retryable or unsent) and monotonic() < deadline.at and upstream.withdraw_retry()):
                    raise _failure(upstream, endpoint, error, deadline) from error
            else:
                is_error = response.status in GATEWAY_ERRORS
                if not (is_error and may_retry and monotonic() < deadline.at and upstream.withdraw_retry()):
                    upstream.metrics.responses.inc()
                    upstream.metrics.duration.observe(monotonic() - started)
                    return response
                response.release()
            tried.append(endpoint)


def _check(request: CallRequest) -> None:
    if not request.path.startswith("/"):
        raise ValueError(f"expected a path that starts with /, got {request.path!r}; the client knows the service")
    if request.options.get("allow_redirects"):
        raise ValueError("redirects are not followed; leave allow_redirects out and read the Location header")


def _lowercase(headers: Any) -> Mapping[str, str]:
    if not headers:
        return {}
    return {str(name).lower(): value for name, value in dict(headers).items()}


def _failure(upstream: Upstream, endpoint: Endpoint, error: BaseException, deadline: CallDeadline) -> CallFailed:
    upstream.metrics.failures.inc()
    if isinstance(error, TimeoutError) and deadline.inherited:
        return CallFailed(f"{upstream.name}: the deadline of the request has passed")
    cause = "timed out" if isinstance(error, TimeoutError) else f"failed: {type(error).__name__}"
    return CallFailed(f"{upstream.name}: instance {endpoint.instance.id} {cause}")
