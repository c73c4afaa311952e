"""Measure the time that filters take, on demand.

A measurement replaces the stage of a chain by one with timed methods, for one request of every SAMPLE_INTERVAL: the
first timed method that is called restores the stage. Without a measurement the chain is as it was built.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic, perf_counter
from typing import Any

from scalekit.http.filter import Decision, Filter, Pending
from scalekit.http.filter_chain import FilterChain
from scalekit.http.stage import Stage
from scalekit.telemetry.quantiles import quantile

SAMPLE_INTERVAL = 0.01
"""Seconds between two requests that are measured in one worker."""
BUCKETS_PER_DOUBLING = 8
"""Buckets of durations: the width of one, about 9 %, is the error of a percentile."""
AFTER_REPLY = "after its reply"
WAIT = "wait for its reply"


@dataclass(slots=True)
class Durations:
    """Durations of the calls of one method, in seconds; *buckets* counts them by size."""

    count: int = 0
    total: float = 0.0
    maximum: float = 0.0
    buckets: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Add one call."""
        self.count += 1
        self.total += seconds
        self.maximum = max(self.maximum, seconds)
        bucket = math.ceil(math.log2(max(seconds, 1e-9) * 1e9) * BUCKETS_PER_DOUBLING)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def merge(self, other: Durations) -> None:
        """Add the calls of *other*, those of another worker."""
        self.count += other.count
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    @property
    def mean(self) -> float | None:
        """The mean, or None without calls."""
        return self.total / self.count if self.count else None

    def percentile(self, share: float) -> float | None:
        """Return the duration that *share* of the calls do not exceed, or None without calls."""
        found = quantile(
            share, ((_bound(bucket - 1), _bound(bucket), self.buckets[bucket]) for bucket in sorted(self.buckets))
        )
        return None if found is None else min(self.maximum, found)


def _bound(bucket: int) -> float:
    """Return the longest duration of *bucket* in seconds."""
    return float(2 ** (bucket / BUCKETS_PER_DOUBLING) / 1e9)


class FilterTimes:
    """Measures the filters of *find_chain*; the chain may be replaced meanwhile.

    ``durations`` are those of the latest measurement, by the identity of the filter and the name of the method.
    """

    def __init__(self, find_chain: Callable[[], FilterChain]) -> None:
        self.durations: dict[tuple[int, str], Durations] = {}
        self.ends_at: float | None = None
        self._find_chain = find_chain
        self._swaps: dict[FilterChain, _Swap] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seconds_left(self) -> float:
        """Seconds until the measurement ends, 0 when none is under way."""
        return 0.0 if self.ends_at is None else max(0.0, self.ends_at - monotonic())

    def measure(self, seconds: float) -> None:
        """Begin a measurement of *seconds*; raises ValueError while another one is under way."""
        if self.seconds_left:
            raise ValueError(f"a measurement is under way; wait {math.ceil(self.seconds_left)} s until it ends")
        self._stop()  # its last call may be late, or its event loop may have ended before
        self.durations = {}
        self.ends_at = monotonic() + seconds
        self._sample()

    def _sample(self) -> None:
        """Have the next request of each chain measured, until the measurement ends."""
        if not self.seconds_left:
            self._stop()
            return
        for chain in self._find_chain().chains():
            if chain not in self._swaps:
                self._swaps[chain] = _Swap(chain, self.durations)
            self._swaps[chain].arm()
        self._timer = asyncio.get_running_loop().call_later(SAMPLE_INTERVAL, self._sample)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for swap in self._swaps.values():
            swap.restore()
        self._swaps, self._timer = {}, None


class _Swap:
    """The stage of one chain, and the timed one that takes its place for one request."""

    def __init__(self, chain: FilterChain, durations: dict[tuple[int, str], Durations]) -> None:
        self._chain = chain
        self._durations = durations
        self._plain = chain.requests
        self._timed = self._time_stage(self._plain)

    def arm(self) -> None:
        """Have the next request measured."""
        self._chain.requests = self._timed

    def restore(self) -> None:
        """Have no more requests measured."""
        self._chain.requests = self._plain

    def _time_stage(self, stage: Stage) -> Stage:
        timed: dict[tuple[int, str], TimedHook] = {}

        def time(name: str, hook: Any) -> Any:
            owner = getattr(hook, "__self__", None)
            if owner is None:  # a static method: no filter that it could be attributed to
                return hook
            key = (id(owner), name)
            if key not in timed:
                kind = TimedDecision if name == "on_request" else TimedHook
                timed[key] = kind(owner, hook, self.restore, partial(self._durations_of, *key))
            return timed[key]

        def by_depth(name: str, lists: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
            return [tuple(time(name, hook) for hook in each) for each in lists]

        return replace(
            stage,
            decisions=[time("on_request", hook) for hook in stage.decisions],
            applications=by_depth("on_application", stage.applications),
            response_starts=by_depth("on_response_start", stage.response_starts),
            completions=by_depth("on_complete", stage.completions),
        )

    def _durations_of(self, owner: int, method: str, part: str = "") -> Durations:
        return self._durations.setdefault((owner, part or method), Durations())


class TimedHook:
    """Calls *hook*, a method of the filter *owner*, and adds the time that it takes to the durations of *find*."""

    __slots__ = ("__self__", "_begin", "_find", "_hook")

    def __init__(self, owner: Filter, hook: Any, begin: Callable[[], None], find: Callable[..., Durations]) -> None:
        self.__self__ = owner  # as of a bound method: spans name the filter
        self._hook = hook
        self._begin = begin
        self._find = find

    def __call__(self, *arguments: Any) -> Any:
        """Call the method."""
        self._begin()
        began = perf_counter()
        try:
            return self._hook(*arguments)
        finally:
            self._find().add(perf_counter() - began)


class TimedDecision(TimedHook):
    """Also records how long a pending decision waits for its reply, and the time after it."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Decision:
        """Call the method."""
        decision: Decision = super().__call__(*arguments)
        return self._watch(decision)

    def _watch(self, decision: Decision) -> Decision:
        if isinstance(decision, Pending):
            decision.decide = partial(self._decide, decision, decision.decide)
        return decision

    def _decide(self, pending: Pending, decide: Callable[[], Decision]) -> Decision:
        began = perf_counter()
        self._find(WAIT).add(began - pending.began)
        try:
            return self._watch(decide())
        finally:
            self._find(AFTER_REPLY).add(perf_counter() - began)


def durations_as_json(durations: Mapping[str, Durations]) -> dict[str, Any]:
    """Return *durations* as JSON can represent them."""
    return {
        name: [each.count, each.total, each.maximum, {str(bucket): count for bucket, count in each.buckets.items()}]
        for name, each in durations.items()
    }


def durations_from_json(content: Mapping[str, Any]) -> Iterator[tuple[str, Durations]]:
    """Yield the names and durations of :func:`durations_as_json`."""
    for name, (count, total, maximum, buckets) in content.items():
        yield name, Durations(count, total, maximum, {int(bucket): number for bucket, number in buckets.items()})
