"""Count requests by the limits that are for them, and refuse those that are over one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.types import ASGIApp

from scalekit import LATER, Decision, Exchange, Filter, Pending
from scalekit.http.response import local_problem, problem
from scalekit.resilience import Unavailable
from scalekit_ratelimit.answering import Answer, Exceeded
from scalekit_ratelimit.limits import Counts, Limits, Slack
from scalekit_ratelimit.marking import ASKING, MARKED, Asking
from scalekit_ratelimit.policies import Policy
from scalekit_ratelimit.shared import Trip
from scalekit_ratelimit.single_limit import SingleLimit


class LimitFilter(Filter):
    """Count by what is known before authentication or, with *by_user*, after it; ``limits`` are there while they run.

    Limits on Redis that stand side by side, and the look-up of a cache, are asked in one trip: so a request that an
    outer limit refuses may be counted by an inner one too.
    """

    runs_while_pending = True
    limits: Limits | None = None

    def __init__(self, by_user: bool) -> None:
        self.by_user = by_user

    def on_request(self, exchange: Exchange) -> Decision:
        """Refuse what is over a limit; tell the others how they stand."""
        limits = self.limits
        if limits is None:
            return None
        if exchange.pending and limits.shared is None:
            return LATER
        chosen = limits.policies.of(exchange.route_path, exchange.scope.get("method", "GET"), self.by_user)
        decorated = bool(MARKED) and not self.by_user
        if chosen is None:
            return self._check(limits, (), exchange) if decorated else None
        limit = chosen.single
        if limit is None or decorated or limits.legacy:
            return self._check(limits, chosen.policies, exchange)
        who = limit.count(exchange.scope)
        if who is None:
            return None
        try:
            slack = limits.start_single_check(limit, who)
        except Unavailable as gone:
            return _unavailable(gone)
        if isinstance(slack, int):  # as it is in memory
            return self._decide_single(limits, limit, slack, exchange)
        return self._await_single(limits, limit, who, slack, exchange)

    on_open = on_request

    def _await_single(self, limits: Limits, limit: SingleLimit, who: str, slack: Slack, exchange: Exchange) -> Decision:
        if isinstance(slack, asyncio.Future):
            return Pending(slack, partial(self._finish_single, limits, limit, who, slack, exchange))
        return None if slack is None else self._decide_single(limits, limit, slack, exchange)

    def _finish_single(
        self, limits: Limits, limit: SingleLimit, who: str, reply: asyncio.Future[Any], exchange: Exchange
    ) -> Decision:
        try:
            slack = limits.finish_single_check(limit, who, reply)
        except Unavailable as gone:
            return _unavailable(gone)
        return self._await_single(limits, limit, who, slack, exchange)

    def _decide_single(self, limits: Limits, limit: SingleLimit, slack: int, exchange: Exchange) -> Decision:
        if slack >= 0:
            exchange.added_headers += limit.headers(slack)
            return None
        limits.metrics.refused(limit.rule.name)
        return limit.too_many_requests(slack)

    def _check(self, limits: Limits, policies: Sequence[Policy], exchange: Exchange) -> Decision:
        """Count by all of *policies* at once."""
        takes = [take for policy in policies for take in policy.takes(exchange.scope)]
        try:
            return self._decide(limits, limits.start_check(takes) if takes else {}, exchange)
        except Unavailable as gone:
            return _unavailable(gone)

    def _finish(self, limits: Limits, trip: Trip, exchange: Exchange) -> Decision:
        try:
            return self._decide(limits, limits.finish_check(trip), exchange)
        except Unavailable as gone:
            return _unavailable(gone)

    def _decide(self, limits: Limits, counts: Trip | Counts, exchange: Exchange) -> Decision:
        if isinstance(counts, Trip):
            return Pending(counts.reply, partial(self._finish, limits, counts, exchange))
        answer = Answer(limits, exchange.scope, exchange.send)
        if not answer.add(counts):
            return local_problem(answer.problem())
        if MARKED and not self.by_user:  # their limits are told together with these
            return partial(serve_decorated, exchange, Asking(limits, exchange.scope, answer))
        exchange.added_headers += answer.headers()
        return None


async def serve_decorated(exchange: Exchange, limits: Asking, app: ASGIApp) -> None:
    """Serve with *app*, whose handlers may count the request by limits of their own."""
    answer = limits.answer
    exchange.set_context(ASKING, limits)
    try:
        await app(exchange.scope, exchange.receive, answer.send)
    except Exceeded:
        await answer.end()


def _unavailable(gone: Unavailable) -> Decision:
    return problem(503, gone.detail, headers=dict(gone.headers or {}))
