"""Limits that the application counts itself, by keys of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from scalekit import Decision, Exchange, Filter
from scalekit_ratelimit.answering import Answer, Exceeded, too_many
from scalekit_ratelimit.counting import digest
from scalekit_ratelimit.filters import serve_decorated
from scalekit_ratelimit.limits import Limits
from scalekit_ratelimit.marking import ASKING, Asking
from scalekit_ratelimit.memory import Take
from scalekit_ratelimit.policies import Policy


class CodeLimits:
    """The *policies* that are counted in code, by their names, counted where *limits* are."""

    def __init__(self, policies: Mapping[str, Policy], limits: Limits) -> None:
        self._policies = policies
        self._limits = limits

    async def hit(self, policy: str, key: str) -> None:
        """Count once for *key*; raises Exceeded when the limit is reached."""
        counts = await self._limits.take(self._takes(policy, key))
        refused = {take: count for take, count in counts.items() if not count.allowed}
        asking = ASKING.get()
        if asking is not None:
            if refused and not asking.answer.add(counts):
                raise Exceeded(asking.answer.problem())
            return
        for take in refused:
            (self._limits.metrics.would_refuse if take.dry else self._limits.metrics.refused)(take.rule.name)
        hard = [(take, count) for take, count in refused.items() if not take.dry]
        if hard:
            raise Exceeded(too_many(hard, counts, self._limits.legacy))

    async def remaining(self, policy: str, key: str) -> int:
        """Return how often *key* may be counted now."""
        counts = await self._limits.take([take._replace(cost=0) for take in self._takes(policy, key)])
        cost = self._policies[policy].cost
        return min((count.remaining // cost for count in counts.values()), default=0)

    async def reset(self, policy: str, key: str) -> None:
        """Forget what was counted for *key*."""
        await self._limits.forget(self._takes(policy, key))

    def _takes(self, policy: str, key: str) -> list[Take]:
        found = self._policies.get(policy)
        if found is None:
            known = ", ".join(sorted(self._policies)) or "none"
            raise ValueError(f'no policy {policy!r} has by = "code"; those that have it: {known}')
        if not isinstance(key, str):
            raise TypeError(f"a key is a text, got {type(key).__name__}")
        who = f"code.{digest(key)}"
        return [Take(rule, who, found.cost, found.dry_run) for rule in found.rules]


class CodeLimitFilter(Filter):
    """Respond with 429 where the application has reached a limit of its own, whatever its framework makes of that.

    ``limits`` are there while they run.
    """

    limits: Limits | None = None

    def on_request(self, exchange: Exchange) -> Decision:
        """Let the application find the request that it counts for."""
        limits = self.limits
        if limits is None:
            return None
        scope = exchange.scope
        return partial(serve_decorated, exchange, Asking(limits, scope, Answer(limits, scope, exchange.send)))

    on_open = on_request
