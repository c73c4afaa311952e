"""Count hits in the memory of this process.

The table has two generations. A key that is used moves to the young one; when that is full it becomes the old one, and
the previous old one, whose keys were used least recently, is evicted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from scalekit_ratelimit.limits import Hit, Limit, LimitState

TableKey = tuple[str, str]
"""Name of the limit, and key of the client."""


class MemoryLimiter:
    """Table of at most *max_keys* keys; *clock* returns monotonic nanoseconds."""

    def __init__(self, max_keys: int, clock: Callable[[], int]) -> None:
        self._generation_size = max(1, max_keys // 2)
        self._clock = clock
        self._young: dict[TableKey, Any] = {}
        self._old: dict[TableKey, Any] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def hit(self, hits: Sequence[Hit]) -> list[LimitState]:
        """Count all of *hits*, or none of them when one is refused; return the state of each limit."""
        now = self._clock() // 1000
        states = [self._state_after(hit, now) for hit in hits]
        for hit, state in zip(hits, states, strict=True):
            if not state.allowed and not hit.dry_run:
                return list(map(_without_hit, hits, states))
        for hit, state in zip(hits, states, strict=True):
            if state.allowed and hit.cost:
                self._store(hit, state, now)
        return states

    def hit_gcra(self, limit: Limit, key: str, increment: int) -> int:
        """Count a hit of *increment* microseconds on a GCRA *limit*; return the slack, below zero when refused."""
        now = self._clock() // 1000
        table_key = (limit.name, key)
        young = self._young
        arrival = young.get(table_key) or self._old.get(table_key) or now
        after = (arrival if arrival > now else now) + increment
        slack = now + limit.tolerance - after
        if slack >= 0:
            if len(young) >= self._generation_size:
                self._put(table_key, after)
            else:
                young[table_key] = after
        return slack

    def reset(self, hit: Hit) -> None:
        """Delete the counter of *hit*."""
        table_key = (hit.limit.name, hit.key)
        self._young.pop(table_key, None)
        self._old.pop(table_key, None)

    def record_refusal(self, limit: Limit, key: str, backlog: int) -> None:
        """Record that Redis refused *key*, whose arrival time is *backlog* microseconds ahead, so that memory does too.

        A sliding window cannot be restored from that: it starts empty.
        """
        if limit.algorithm == "gcra":
            table_key, arrival = (limit.name, key), self._clock() // 1000 + backlog
            if arrival > (self._get(table_key) or 0):
                self._put(table_key, arrival)

    def _state_after(self, hit: Hit, now: int) -> LimitState:
        limit = hit.limit
        if limit.algorithm == "sliding-window":
            return self._window_state_after(hit, now)
        arrival = self._get((limit.name, hit.key)) or now
        backlog = arrival - now if arrival > now else 0
        reset = backlog + hit.cost * limit.emission_interval
        slack = limit.tolerance - reset
        if slack < 0:
            return _refused(limit, backlog, -slack)
        return LimitState(True, slack // limit.emission_interval, reset, 0)

    def _window_state_after(self, hit: Hit, now: int) -> LimitState:
        limit = hit.limit
        times: deque[int] = self._get((limit.name, hit.key)) or deque()
        while times and times[0] <= now - limit.window:
            times.popleft()
        remaining = limit.quota - len(times) - hit.cost
        if remaining < 0:
            retry_after = times[-remaining - 1] + limit.window - now
            return LimitState(False, limit.quota - len(times), times[-1] + limit.window - now, retry_after)
        return LimitState(True, remaining, limit.window, 0)

    def _store(self, hit: Hit, state: LimitState, now: int) -> None:
        table_key = (hit.limit.name, hit.key)
        if hit.limit.algorithm == "sliding-window":
            times = self._get(table_key) or deque()
            times.extend([now] * hit.cost)
            self._put(table_key, times)
        else:
            self._put(table_key, now + state.reset)

    def _get(self, key: TableKey) -> Any:
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def _put(self, key: TableKey, value: Any) -> None:
        young = self._young
        if len(young) >= self._generation_size and key not in young:
            self._old = young
            young = self._young = {}
        young[key] = value


def _refused(limit: Limit, backlog: int, retry_after: int) -> LimitState:
    return LimitState(False, max(0, (limit.tolerance - backlog) // limit.emission_interval), backlog, retry_after)


def _without_hit(hit: Hit, state: LimitState) -> LimitState:
    """Return *state* as it is without *hit*, because another limit refuses the request."""
    if not state.allowed:
        return state
    limit, _, cost, _ = hit
    reset = max(0, state.reset - cost * limit.emission_interval) if limit.algorithm == "gcra" else state.reset
    return LimitState(True, state.remaining + cost, reset, 0)
