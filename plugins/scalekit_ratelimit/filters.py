"""Filters that check the limits of each request, before and after authentication and in handlers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from scalekit import LATER, Decision, Exchange, Filter, Pending, Unavailable, local_problem
from scalekit_ratelimit.handler_limits import DECORATED, LIMIT_HEADERS, RequestLimits
from scalekit_ratelimit.limit_checks import LimitCheck
from scalekit_ratelimit.limiter import Limiter


class LimitFilter(Filter):
    """Checks limits before authentication or, with *after_authentication*, after it.

    Adjacent checks in Redis, and the lookup of a cache, are pipelined in one round trip: a request that an outer limit
    refuses may be counted by an inner one as well. ``limiter`` is set while the plugin runs.
    """

    runs_while_pending = True
    limiter: Limiter | None = None

    def __init__(self, after_authentication: bool) -> None:
        self.after_authentication = after_authentication

    def on_request(self, exchange: Exchange) -> Decision:
        """Refuse a request that exceeds a limit; add the ``RateLimit`` headers to the response of any other."""
        limiter = self.limiter
        if limiter is None:
            return None
        if exchange.pending and limiter.shared is None:
            return LATER
        policies = limiter.policies
        if DECORATED and not self.after_authentication:
            exchange.scope[LIMIT_HEADERS] = exchange.added_headers
        checks = policies.after_authentication if self.after_authentication else policies.before_authentication
        check = checks[exchange.route_path, exchange.scope.get("method", "GET")]
        if check is None:
            return None
        hits = check.prepare(exchange.scope)
        if hits is None:
            return None
        if limiter.shared is None:  # memory never waits
            return check.apply_decision(exchange, check.hit_memory(limiter.memory, hits), limiter.metrics)
        return self._check(limiter, check, hits, exchange)

    on_open = on_request

    def _check(
        self, limiter: Limiter, check: LimitCheck[Any, Any], hits: Any, exchange: Exchange, reply: Any = None
    ) -> Decision:
        """Decide by the result of *check*: start it when *reply* is None, otherwise read the reply."""
        try:
            result = limiter.start_check(check, hits) if reply is None else limiter.finish_check(check, hits, reply)
        except Unavailable as error:
            return local_problem(503, error.detail, headers=dict(error.headers or {}))
        if isinstance(result, asyncio.Future):
            return Pending(result, partial(self._check, limiter, check, hits, exchange, result))
        return None if result is None else check.apply_decision(exchange, result, limiter.metrics)


class HandlerLimitFilter(Filter):
    """Lets handlers count hits of their own, and responds with 429 when a limit is exceeded.

    It is the innermost filter, so that responses from a cache cost nothing. ``application_limits`` is whether a
    policy has ``key = "application"``; ``limiter`` is set while the plugin runs.
    """

    limiter: Limiter | None = None
    application_limits = False

    def on_request(self, exchange: Exchange) -> Decision:
        """Provide the limits of the request to its handler."""
        limiter = self.limiter
        if not (DECORATED or self.application_limits) or limiter is None:
            return None
        headers = exchange.scope.get(LIMIT_HEADERS, exchange.added_headers)
        return RequestLimits(limiter, exchange, headers).serve

    on_open = on_request
