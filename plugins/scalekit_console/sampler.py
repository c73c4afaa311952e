"""Samples of this worker: requests, errors, durations, CPU, memory and the delay of the event loop, each second."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

from scalekit import background_task, rss
from scalekit_console.request_sampler import RequestSampler

TICK = 0.1
"""Seconds between two looks at the delay of the event loop."""
SAMPLES = 900
"""Samples that are kept: those of 15 minutes."""
GROUP = 5
"""Seconds of which the samples are shown as one point."""


class Sample(NamedTuple):
    """What a worker did in the second that begins at *at*, in seconds since the epoch."""

    at: int
    errors: int
    in_flight: int
    cpu: float
    rss: int
    delay: float
    buckets: dict[int, int]
    """Requests by the bucket of their duration."""


class WorkerSampler:
    """The samples of this worker; *requests* is its filter."""

    def __init__(self, requests: RequestSampler) -> None:
        self.requests = requests
        self.samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._groups: dict[int, list[Any]] = {}

    def running(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager inside which samples are taken."""
        return background_task(self._run(), "console samples")

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        second, delay = int(time.time()), 0.0
        wall, cpu = loop.time(), time.process_time()
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            delay = max(delay, loop.time() - due)
            self.requests.tick()
            if (now := int(time.time())) == second:
                continue
            new_wall, new_cpu = loop.time(), time.process_time()
            self._add(second, (new_cpu - cpu) / (new_wall - wall), delay)
            self.requests.routes.rotate(new_wall)
            second, delay, wall, cpu = now, 0.0, new_wall, new_cpu

    def _add(self, second: int, cpu: float, delay: float) -> None:
        ended, in_flight = self.requests.take(), self.requests.in_flight
        self.samples.append(Sample(second, ended.errors, in_flight, cpu, rss(os.getpid()), delay, ended.buckets))

    def describe(self) -> dict[str, Any]:
        """Return the last sample and one point for every GROUP seconds, as JSON can represent them."""
        return {
            "pid": os.getpid(),
            "in_flight": self.requests.in_flight,
            "websockets": self.requests.websockets,
            "last": _merge(self.samples[-1].at, [self.samples[-1]]) if self.samples else None,
            "groups": self._grouped(),
        }

    def _grouped(self) -> list[list[Any]]:
        """Return the groups; only those that were not complete at the last call are computed again."""
        oldest = self.samples[0].at // GROUP if self.samples else 0
        known = {number: group for number, group in self._groups.items() if number >= oldest}
        latest = max(known, default=oldest) if known else oldest
        fresh: dict[int, list[Sample]] = {}
        for sample in reversed(self.samples):
            if sample.at // GROUP < latest:
                break
            fresh.setdefault(sample.at // GROUP, []).append(sample)
        known |= {number: _merge(number * GROUP, samples) for number, samples in fresh.items()}
        self._groups = known
        return [known[number] for number in sorted(known)]


def _merge(at: int, samples: Iterable[Sample]) -> list[Any]:
    """Return time, seconds, errors, requests in flight, CPU, memory, delay and requests by bucket of *samples*."""
    found = list(samples)
    buckets: dict[str, int] = {}
    for sample in found:
        for bucket, count in sample.buckets.items():
            buckets[str(bucket)] = buckets.get(str(bucket), 0) + count
    return [
        at,
        len(found),
        sum(sample.errors for sample in found),
        max(sample.in_flight for sample in found),
        sum(sample.cpu for sample in found) / len(found),
        max(sample.rss for sample in found),
        max(sample.delay for sample in found),
        buckets,
    ]
