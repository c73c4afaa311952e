"""Limits that the application counts itself, by keys of its own."""

from __future__ import annotations

from collections.abc import Mapping

from scalekit_ratelimit.handler_limits import CURRENT, Exceeded
from scalekit_ratelimit.headers import too_many_requests
from scalekit_ratelimit.keys import digest
from scalekit_ratelimit.limit_checks import in_force, is_allowed
from scalekit_ratelimit.limiter import Limiter
from scalekit_ratelimit.memory_limiter import Hit
from scalekit_ratelimit.policies import RateLimitPolicy


class ApplicationLimits:
    """The *policies* that are counted in code, by their names, counted where *limits* are."""

    def __init__(self, policies: Mapping[str, RateLimitPolicy], limits: Limiter) -> None:
        self._policies = policies
        self._limits = limits

    async def hit(self, policy: str, key: str) -> None:
        """Count once for *key*; raises Exceeded when the limit is reached."""
        counts = await self._limits.take(self._takes(policy, key))
        current = CURRENT.get()
        if current is not None:
            current.note(counts, told=False)
            return
        enforced = in_force(counts, self._limits.metrics)
        if not is_allowed(enforced):
            raise Exceeded(too_many_requests(enforced, self._limits.policies.legacy))

    async def remaining(self, policy: str, key: str) -> int:
        """Return how often *key* may be counted now."""
        counts = await self._limits.take([take._replace(cost=0) for take in self._takes(policy, key)])
        cost = self._policies[policy].cost
        return min((count.remaining // cost for _, count in counts), default=0)

    async def reset(self, policy: str, key: str) -> None:
        """Forget what was counted for *key*."""
        await self._limits.forget(self._takes(policy, key))

    def _takes(self, policy: str, key: str) -> list[Hit]:
        found = self._policies.get(policy)
        if found is None:
            known = ", ".join(sorted(self._policies)) or "none"
            raise ValueError(f'no policy {policy!r} has by = "code"; those that have it: {known}')
        if not isinstance(key, str):
            raise TypeError(f"a key is a text, got {type(key).__name__}")
        who = f"code.{digest(key)}"
        return [Hit(rule, who, found.cost, found.dry_run) for rule in found.rules]
