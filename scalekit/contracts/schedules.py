"""Schedules: when their ticks are due, and what happens with ticks that are missed or overlap.

Moments are in milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Literal, TypeAlias, get_args

from scalekit.config.types import Duration
from scalekit.contracts.cron import Cron

MAX_NAME = 100
"""Characters of the name of a schedule: a tick's id has its due time too."""
MIN_PERIOD = 100
MAX_JITTER = 86_400_000

MissedPolicy: TypeAlias = Literal["run_once", "run_all", "skip"]
"""What happens with ticks that no process has published in time: the last one is published, all are, or none is."""
OverlapPolicy: TypeAlias = Literal["skip", "queue", "allow"]
"""What happens with a tick during the run before: it is dropped, published after the run, or published at once."""


class Every:
    """The rule of a period such as ``"5m"``: due at its multiples since the epoch, so that all instances agree."""

    def __init__(self, period: str | float) -> None:
        seconds = Duration(period) if isinstance(period, str) else float(period)
        self._period = round(seconds * 1000)
        if self._period < MIN_PERIOD:
            raise ValueError(f'a period is at least {MIN_PERIOD}ms, such as "5m", got {period!r}')

    def __str__(self) -> str:
        """Return the rule as text."""
        return f"every {Duration(f'{self._period}ms')}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Every) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def next(self, after: int) -> int | None:
        """Return the first tick after *after*."""
        return (after // self._period + 1) * self._period

    def latest(self, after: int, until: int, limit: int) -> list[int]:
        """Return the last ticks after *after* and up to *until*, at most *limit* of them, in order."""
        last = until // self._period
        first = max(after // self._period + 1, last - limit + 1)
        return [number * self._period for number in range(first, last + 1)]


Rule: TypeAlias = Every | Cron
"""When ticks are due."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The body of a tick's message: the name of the schedule, and when the tick was due."""

    schedule: str
    due: datetime


@dataclass(frozen=True, slots=True)
class Schedule:
    """A rule and its policies; *jitter* is in milliseconds. Raises ValueError for policies that exclude each other.

    *missed* is what happens with ticks that no process has published in time, *overlap* with ticks that become due
    while the message of the tick before is not handled yet.
    """

    name: str
    rule: Rule
    missed: MissedPolicy = "run_once"
    overlap: OverlapPolicy = "skip"
    jitter: int = 0

    def __post_init__(self) -> None:
        for option, value, kind in (("missed", self.missed, MissedPolicy), ("overlap", self.overlap, OverlapPolicy)):
            if value not in get_args(kind):
                raise ValueError(f"{option} is one of {', '.join(get_args(kind))}, got {value!r}")
        if self.missed == "run_all" and self.overlap == "skip":
            raise ValueError('missed = "run_all" needs overlap "queue" or "allow": "skip" drops ticks during a run')
        if len(self.name) > MAX_NAME:
            raise ValueError(f"the name of a schedule has at most {MAX_NAME} characters, got {self.name!r}")
        if not 0 <= self.jitter <= MAX_JITTER:
            raise ValueError(f"jitter is between 0 and 24 hours, got {self.jitter}ms")

    def publish_at(self, tick: int) -> int:
        """Return when *tick* is published: when it is due, plus its part of the jitter, which instances agree on."""
        if not self.jitter:
            return tick
        digest = blake2b(f"{self.name}@{tick}".encode(), digest_size=8).digest()
        return tick + int.from_bytes(digest) % (self.jitter + 1)

    def ready(self, after: int, now: int, limit: int) -> Sequence[int]:
        """Return the ticks after *after* that are to be published at *now*, the last *limit* of them, in order."""
        ready: list[int] = []
        for tick in self.rule.latest(after, now, limit):
            if self.publish_at(tick) > now:
                break
            ready.append(tick)
        return ready

    def next_publication(self, after: int) -> int | None:
        """Return when the first tick after *after* is published, or None when there is none."""
        tick = self.rule.next(after)
        return None if tick is None else self.publish_at(tick)
