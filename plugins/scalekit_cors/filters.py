"""Respond to preflights, and add the CORS headers to all other responses of the chain."""

from __future__ import annotations

from scalekit import Exchange, Filter, LocalResponse, PathTable, local_problem
from scalekit_cors.metrics import PreflightMetrics
from scalekit_cors.policies import ALLOW_ORIGIN, Policy, preflight_of

ORIGIN = b"origin"
REQUEST_METHOD = b"access-control-request-method"
PREFIX = b"access-control-"


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
        headers = exchange.response_headers
        if origin is None:
            headers += policy.vary
            return
        own = [each for each in headers if each[0][: len(PREFIX)].lower() == PREFIX]
        if own:
            if any(name.lower() == ALLOW_ORIGIN and value in (b"*", origin) for name, value in own):
                return
            headers[:] = [each for each in headers if each not in own]
        headers += policy.response_headers(origin) or policy.vary
