"""What this worker did lately by message name, sampled from its metrics while a console is on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any, NamedTuple

from scalekit import Context, Key
from scalekit.telemetry import TELEMETRY, Telemetry
from scalekit_queue import metrics
from scalekit_queue.metrics import ConsumeOutcome

INTERVAL = 10.0
"""Seconds between two samples."""
MINUTE = 60.0
WINDOW = 600.0
"""Seconds in which durations of handlers are shown."""
MAX_NAMES = 100
"""Message names of which samples are kept."""
UNSETTLED = (ConsumeOutcome.UNSETTLED, ConsumeOutcome.REQUEUED)


class Counts(NamedTuple):
    """The metrics of one name since the start: messages, and handlers by the bucket of their duration."""

    published: float = 0
    settled: float = 0
    retries: float = 0
    durations: Sequence[int] = (0,) * (len(metrics.BUCKETS) + 1)


class QueueActivity:
    """The counts of *telemetry* by name, now and in the last WINDOW seconds."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._samples: deque[tuple[float, dict[str, Counts]]] = deque(maxlen=int(WINDOW / INTERVAL) + 1)

    async def sample_periodically(self) -> None:
        """Take a sample every INTERVAL seconds."""
        while True:
            self.sample()
            await asyncio.sleep(INTERVAL)

    def sample(self) -> None:
        """Take a sample."""
        self._samples.append((monotonic(), self._counts()))

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return by name the messages of the last minute, the retries since the start, and the latest durations."""
        now = self._counts()
        elapsed, minute_ago = self._before(MINUTE)
        _, window_ago = self._before(WINDOW)
        share = MINUTE / max(MINUTE, elapsed)
        return {
            name: {
                "published": (counts.published - minute_ago.get(name, Counts()).published) * share,
                "settled": (counts.settled - minute_ago.get(name, Counts()).settled) * share,
                "retries": counts.retries,
                "durations": [
                    count - before
                    for count, before in zip(counts.durations, window_ago.get(name, Counts()).durations, strict=True)
                ],
            }
            for name, counts in now.items()
        }

    def _before(self, seconds: float) -> tuple[float, dict[str, Counts]]:
        """Return the latest sample that is at least *seconds* old, else the oldest, with its age."""
        now = monotonic()
        for at, counts in reversed(self._samples):
            if now - at >= seconds:
                return now - at, counts
        return (now - self._samples[0][0], self._samples[0][1]) if self._samples else (0.0, {})

    def _counts(self) -> dict[str, Counts]:
        recorded = self._telemetry.recorded
        found: dict[str, Counts] = {}
        for (name,), published in recorded(metrics.PUBLISHED).items():
            found[name] = Counts(published=published.value)
        for (name, outcome), consumed in recorded(metrics.CONSUMED).items():
            counts = found.get(name, Counts())
            settled = 0.0 if outcome in UNSETTLED else consumed.value
            found[name] = counts._replace(settled=counts.settled + settled)
        for (name, _), retries in recorded(metrics.RETRIES).items():
            counts = found.get(name, Counts())
            found[name] = counts._replace(retries=counts.retries + retries.value)
        for (name,), durations in recorded(metrics.HANDLER_SECONDS).items():
            found[name] = found.get(name, Counts())._replace(durations=tuple(durations.counts))
        return {name: found[name] for name in sorted(found)[:MAX_NAMES]}


def new_activity(context: Context) -> QueueActivity:
    """Return the activity of the application of *context*."""
    return QueueActivity(context.get(TELEMETRY))


ACTIVITY: Key[QueueActivity] = Key("queue activity", plugin="queue")
"""Provided while a console is on."""
