"""Count requests by the limits that are for them, and refuse those that are over one."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from scalekit import LATER, Decision, Exchange, Filter, Pending, Unavailable, local_problem
from scalekit_ratelimit.decorator import DECORATED
from scalekit_ratelimit.handler_limits import LIMIT_HEADERS, RequestLimits
from scalekit_ratelimit.limit_checks import LimitCheck
from scalekit_ratelimit.limiter import Limiter


class LimitFilter(Filter):
    """Check limits before authentication or, with *by_user*, after it; ``limits`` is set while the plugin runs.

    Limits on Redis that stand side by side, and the look-up of a cache, are asked in one trip: so a request that an
    outer limit refuses may be counted by an inner one too.
    """

    runs_while_pending = True
    limits: Limiter | None = None

    def __init__(self, by_user: bool) -> None:
        self.by_user = by_user

    def on_request(self, exchange: Exchange) -> Decision:
        """Refuse what is over a limit; tell the others how they stand."""
        limits = self.limits
        if limits is None:
            return None
        if exchange.pending and limits.shared is None:
            return LATER
        if DECORATED and not self.by_user:
            exchange.scope[LIMIT_HEADERS] = exchange.added_headers
        checks = limits.policies.late if self.by_user else limits.policies.early
        check = checks[exchange.route_path, exchange.scope.get("method", "GET")]
        if check is None:
            return None
        takes = check.takes(exchange.scope)
        if takes is None:
            return None
        if limits.shared is None:  # memory does not wait
            return check.decide(exchange, check.take(limits.memory, takes), limits.metrics)
        return self._check(limits, check, takes, exchange)

    on_open = on_request

    def _check(
        self, limits: Limiter, check: LimitCheck[Any, Any], takes: Any, exchange: Exchange, reply: Any = None
    ) -> Decision:
        """Decide by the result of *check*, which *reply* brings where it was sent."""
        try:
            result = limits.start_check(check, takes) if reply is None else limits.finish_check(check, takes, reply)
        except Unavailable as gone:
            return local_problem(503, gone.detail, headers=dict(gone.headers or {}))
        if isinstance(result, asyncio.Future):
            return Pending(result, partial(self._check, limits, check, takes, exchange, result))
        return None if result is None else check.decide(exchange, result, limits.metrics)


class HandlerLimitFilter(Filter):
    """Let handlers count by limits of their own, and respond with 429 where one is reached.

    It stands nearest to the application, so that what a cache responds costs nothing. With ``in_code`` the application
    counts by policies of the file; ``limits`` are there while they run.
    """

    limits: Limiter | None = None
    in_code = False

    def on_request(self, exchange: Exchange) -> Decision:
        """Let the application find the limits of its request."""
        limits = self.limits
        if not (DECORATED or self.in_code) or limits is None:
            return None
        headers = exchange.scope.get(LIMIT_HEADERS, exchange.added_headers)
        return RequestLimits(limits, exchange, headers).serve

    on_open = on_request
