"""Respond to preflights, and add the CORS headers to all other responses of the chain."""

from __future__ import annotations

from collections.abc import Sequence

from scalekit import Exchange, Filter, HeaderNames, LocalResponse, PathTable, local_problem
from scalekit_cors.metrics import PreflightMetrics
from scalekit_cors.policies import ALLOW_ORIGIN, Policy, preflight_of

ORIGIN = b"origin"
REQUEST_METHOD = b"access-control-request-method"
NAMES = HeaderNames(lambda name: name.startswith(b"access-control-"))
"""Names of response headers of CORS."""


class CorsFilter(Filter):
    """Stands outside of limits, authentication and cache: their responses get the headers, and none are cached."""

    request_headers = frozenset(
        {ORIGIN, REQUEST_METHOD, b"access-control-request-headers", b"access-control-request-private-network"}
    )

    def __init__(self, policies: PathTable[Policy], metrics: PreflightMetrics) -> None:
        self._policies = policies
        self._single = policies.single
        self._metrics = metrics

    def on_request(self, exchange: Exchange) -> LocalResponse | None:
        """Respond to a preflight; continue with every other request."""
        headers = exchange.headers
        if REQUEST_METHOD not in headers or ORIGIN not in headers or exchange.scope["method"] != "OPTIONS":
            return None
        decision = self._policies.find(exchange.route_path).decide_preflight(preflight_of(headers[ORIGIN], headers))
        self._metrics.count(allowed=not decision.reason)
        if not decision.reason:
            return LocalResponse(200, [*decision.headers, (b"content-length", b"0")], b"")
        problem = local_problem(403, decision.reason)
        return LocalResponse(problem.status, [*problem.headers, *decision.headers], problem.body, problem.detail)

    def on_response_start(self, exchange: Exchange) -> None:
        """Add the headers of the policy, unless the application allows the origin; remove its other CORS headers."""
        policy = self._single or self._policies.find(exchange.route_path)
        origin = exchange.headers.get(ORIGIN)
        headers = exchange.current_headers
        if origin is None:
            exchange.current_headers = [*headers, *policy.vary]
            return
        for name, _ in headers:
            if NAMES[name]:
                if _allows(headers, origin):
                    return
                headers = [each for each in headers if not NAMES[each[0]]]
                break
        exchange.current_headers = [*headers, *(policy.response_headers(origin) or policy.vary)]


def _allows(headers: Sequence[tuple[bytes, bytes]], origin: bytes) -> bool:
    """Return whether *headers* of the application allow pages of *origin* to read the response."""
    return any(name.lower() == ALLOW_ORIGIN and value in (b"*", origin) for name, value in headers)
