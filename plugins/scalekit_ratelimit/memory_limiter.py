"""Count in the memory of this process.

What is known is in two generations. A key that is used moves to the younger one; when that is full it becomes the older
one, whose keys have not been used for as long as half of the table took to fill, and are forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from scalekit_ratelimit.gcra import Limit, LimitState

Key = tuple[str, str]
"""The rule's name, and what is counted by."""


class Hit(NamedTuple):
    """*cost* to be taken from what *rule* leaves to *who*; *dry* takes part without a say."""

    rule: Limit
    who: str
    cost: int
    dry: bool


class MemoryLimiter:
    """At most *size* keys; *clock* gives nanoseconds and never runs backwards."""

    def __init__(self, size: int, clock: Callable[[], int]) -> None:
        self._half = max(1, size // 2)
        self._clock = clock
        self._young: dict[Key, Any] = {}
        self._old: dict[Key, Any] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def take(self, takes: Sequence[Hit]) -> list[LimitState]:
        """Take from all or, where one of them refuses, from none; say how each stands."""
        now = self._clock() // 1000
        counts = [self._look(take, now) for take in takes]
        for take, count in zip(takes, counts, strict=True):
            if not count.allowed and not take.dry:
                return list(map(_untaken, takes, counts))
        for take, count in zip(takes, counts, strict=True):
            if count.allowed and take.cost:
                self._consume(take, count, now)
        return counts

    def take_one(self, rule: Limit, who: str, taken: int) -> int:
        """Take from one *rule* that counts by GCRA so many microseconds; return the slack."""
        now = self._clock() // 1000
        key = (rule.name, who)
        young = self._young
        arrival = young.get(key) or self._old.get(key) or now
        after = (arrival if arrival > now else now) + taken
        room = now + rule.tolerance - after
        if room >= 0:
            if len(young) >= self._half:
                self._put(key, after)
            else:
                young[key] = after
        return room

    def forget(self, take: Hit) -> None:
        """Forget what was taken."""
        key = (take.rule.name, take.who)
        self._young.pop(key, None)
        self._old.pop(key, None)

    def learn_refusal(self, rule: Limit, who: str, owed: int) -> None:
        """Note that *who* owes so many microseconds of *rule* elsewhere, so that nothing is let through here either.

        A sliding window is not known from that: it begins from nothing here.
        """
        if rule.algorithm == "gcra":
            key, arrival = (rule.name, who), self._clock() // 1000 + owed
            if arrival > (self._get(key) or 0):
                self._put(key, arrival)

    def _look(self, take: Hit, now: int) -> LimitState:
        rule, who, cost, _ = take
        if rule.algorithm == "sliding-window":
            return self._look_at_window(take, now)
        arrival = self._get((rule.name, who)) or now
        owed = arrival - now if arrival > now else 0
        reset = owed + cost * rule.interval
        slack = rule.tolerance - reset
        if slack < 0:
            return _refused(rule, owed, -slack)
        return LimitState(True, slack // rule.interval, reset, 0)

    def _look_at_window(self, take: Hit, now: int) -> LimitState:
        rule, who, cost, _ = take
        times: deque[int] = self._get((rule.name, who)) or deque()
        while times and times[0] <= now - rule.period:
            times.popleft()
        room = rule.limit - len(times) - cost
        if room < 0:
            freed = times[-room - 1] + rule.period - now
            return LimitState(False, rule.limit - len(times), times[-1] + rule.period - now, freed)
        return LimitState(True, room, rule.period, 0)

    def _consume(self, take: Hit, count: LimitState, now: int) -> None:
        rule, who, cost, _ = take
        key = (rule.name, who)
        if rule.algorithm == "sliding-window":
            times = self._get(key) or deque()
            times.extend([now] * cost)
            self._put(key, times)
        else:
            self._put(key, now + count.reset)

    def _get(self, key: Key) -> Any:
        found = self._young.get(key)
        return self._old.get(key) if found is None else found

    def _put(self, key: Key, value: Any) -> None:
        young = self._young
        if len(young) >= self._half and key not in young:
            self._old = young
            young = self._young = {}
        young[key] = value


def _refused(rule: Limit, owed: int, retry: int) -> LimitState:
    return LimitState(False, max(0, (rule.tolerance - owed) // rule.interval), owed, retry)


def _untaken(take: Hit, count: LimitState) -> LimitState:
    """Return what *count* would be had nothing been taken, since another refuses."""
    if not count.allowed:
        return count
    rule, _, cost, _ = take
    reset = max(0, count.reset - cost * rule.interval) if rule.algorithm == "gcra" else count.reset
    return LimitState(True, count.remaining + cost, reset, 0)
