"""Count hits in Redis, shared by all instances."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from scalekit_ratelimit.headers import HitResults
from scalekit_ratelimit.limits import Hit, LimitState
from scalekit_ratelimit.shared_limiter import PendingHits
from scalekit_redis import PreparedScript, Redis, Script

if TYPE_CHECKING:
    from scalekit_ratelimit.limit_checks import SingleLimit

COMBINED_LIMITS = Script(files("scalekit_ratelimit").joinpath("combined_limits.lua").read_text())
GCRA = Script(files("scalekit_ratelimit").joinpath("gcra.lua").read_text())

PREFIX = "scalekit:ratelimit:"


class RedisLimiter:
    """Counts on *redis*; in a *cluster* the hits of each hash slot are a script of their own."""

    store = "Redis"

    def __init__(self, redis: Redis, cluster: bool) -> None:
        self._redis = redis
        self._cluster = cluster
        self._prepared: dict[SingleLimit, PreparedScript] = {}

    def send_gcra(self, limit: SingleLimit, key: str) -> asyncio.Future[Any]:
        """Send a hit on one limit and return the future of its slack; raises RedisUnavailable."""
        return self._script(limit).run(_redis_key(key, limit.limit.key_suffix))

    def read_gcra(self, limit: SingleLimit, reply: asyncio.Future[Any]) -> int:
        """Return the slack of *limit*; raises RedisUnavailable or ReplyError."""
        slack: int = reply.result()
        return slack

    def _script(self, limit: SingleLimit) -> PreparedScript:
        found = self._prepared.get(limit)
        if found is None:
            found = self._prepared[limit] = self._redis.prepare(GCRA, (limit.increment, limit.limit.tolerance))
        return found

    def send_hits(self, pending: PendingHits) -> asyncio.Future[Any]:
        """Send hits of which, in each hash slot, all or none are counted; raises RedisUnavailable."""
        hits = pending.hits
        slots = group_by_slot(hits) if self._cluster and len(hits) > 1 else [hits]
        return pending.set_replies([(slot, self._send_slot(slot)) for slot in slots])

    def read_replies(self, pending: PendingHits) -> HitResults:
        """Return the state of each limit, once all replies have arrived; raises RedisUnavailable or ReplyError."""
        replies = [(hits, _states(reply.result())) for hits, reply in pending.replies]
        return [result for hits, states in replies for result in zip(hits, states, strict=True)]

    async def reset(self, hits: Sequence[Hit]) -> None:
        """Delete the counters of *hits*; raises RedisUnavailable or ReplyError."""
        await self._redis.delete(*map(redis_key_of, hits))

    async def probe(self, timeout: float = 1.0) -> None:
        """Return when Redis replies within *timeout* seconds; raises RedisUnavailable or ReplyError."""
        await self._redis.probe(timeout=timeout)

    def _send_slot(self, hits: Sequence[Hit]) -> asyncio.Future[Any]:
        return self._redis.start_script(COMBINED_LIMITS, *_keys_and_args(hits))


def _states(reply: Sequence[int]) -> list[LimitState]:
    return [LimitState(bool(reply[at]), *reply[at + 1 : at + 4]) for at in range(0, len(reply), 4)]


def redis_key_of(hit: Hit) -> str:
    """Return the Redis key of *hit*; the client's key is the hash tag, so that all its limits share a slot."""
    return _redis_key(hit.key, hit.limit.key_suffix)


def _redis_key(key: str, suffix: str) -> str:
    return f"{PREFIX}{{{key}}}{suffix}"


def group_by_slot(hits: Sequence[Hit]) -> Sequence[Sequence[Hit]]:
    """Return *hits* in groups whose keys share a hash slot."""
    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(hit.key, []).append(hit)
    return list(groups.values())


def _keys_and_args(hits: Sequence[Hit]) -> tuple[list[str], list[str | int]]:
    args: list[str | int] = []
    for limit, _, cost, dry_run in hits:
        if limit.algorithm == "gcra":
            args += ("g", limit.emission_interval, limit.tolerance, cost, int(dry_run))
        else:
            args += ("s", limit.quota, limit.window, cost, int(dry_run))
    return [redis_key_of(hit) for hit in hits], args
