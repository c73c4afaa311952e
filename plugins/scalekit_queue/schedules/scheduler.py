"""Publish the ticks of schedules when they are due; all processes compete, and one publishes each tick."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from time import time

from scalekit_queue.envelope import Envelope
from scalekit_queue.metrics import ConsumeOutcome, ScheduleMetrics
from scalekit_queue.schedules.decision import (
    CANCELLED,
    DONE,
    DUE,
    FAILED,
    NEVER,
    RETRIED,
    SCHEDULE,
    ScheduledMessage,
    finish,
    mark_seen,
    pause,
    publish_due,
    register,
    resume,
    trigger,
)
from scalekit_queue.schedules.state import ScheduleState, ScheduleStore, StateChange, Update

logger = logging.getLogger("scalekit.queue")

MAX_WAIT = 10.0
"""Seconds after which the time is read again: the clock may be set."""
MIN_WAIT = 0.002
QUEUED_INTERVAL = 0.5
"""Seconds between two looks at a run after whose end the next tick is published."""
ERROR_DELAY = 1.0
SEEN_INTERVAL = 3_600_000
"""Milliseconds after which the state says again that a process has the schedule."""
MAX_UNSEEN = 30 * 86_400_000
"""Milliseconds after which the state of a schedule that no process has is deleted."""
OUTCOMES = {
    ConsumeOutcome.DONE: DONE,
    ConsumeOutcome.DUPLICATE: DONE,
    ConsumeOutcome.DEAD_LETTERED: FAILED,
    ConsumeOutcome.RETRIED: RETRIED,
    ConsumeOutcome.CANCELLED: CANCELLED,
}


class Scheduler:
    """Publishes the ticks of *scheduled* messages, whose states are in *store*."""

    def __init__(self, scheduled: Sequence[ScheduledMessage], store: ScheduleStore, metrics: ScheduleMetrics) -> None:
        self.scheduled = {each.schedule.name: each for each in scheduled}
        self._store = store
        self._metrics = metrics
        self._next: dict[str, int] = {}
        self._ended = asyncio.Event()
        self._last_error = ""
        self._is_cleaned = False

    async def run(self) -> None:
        """Publish ticks until cancelled."""
        while True:
            self._ended.clear()
            try:
                wait = await self._publish()
                self._last_error = ""
            except Exception as error:
                wait = ERROR_DELAY
                self._report(error)
            try:
                async with asyncio.timeout(wait):
                    await self._ended.wait()
            except TimeoutError:
                pass

    async def states(self) -> tuple[int, Mapping[str, ScheduleState]]:
        """Return the current time, and the states by name, also of schedules that this process does not have."""
        return await self._store.read()

    async def pause(self, name: str) -> None:
        """Publish no ticks of *name*; raises ValueError for an unknown name."""
        await self._change(name, pause)

    async def resume(self, name: str) -> None:
        """Publish ticks of *name* again; raises ValueError for an unknown name."""
        await self._change(name, resume)

    async def trigger(self, name: str) -> None:
        """Publish a tick of *name* now; raises ValueError for an unknown name, and while its overlap forbids it."""
        self._require(name)
        change = await self._change(name, partial(trigger, self.scheduled[name]))
        if change.refusal:
            raise ValueError(change.refusal)

    async def record_end(self, envelope: Envelope, outcome: ConsumeOutcome, seconds: float) -> None:
        """Record the *outcome* of a message, if it is that of a tick and is settled."""
        name, due = envelope.headers.get(SCHEDULE, ""), envelope.headers.get(DUE, "")
        if name not in self.scheduled or outcome not in OUTCOMES or not (due.isascii() and due.isdigit()):
            return
        if outcome is ConsumeOutcome.DEAD_LETTERED:
            self._metrics.failed(name)
        try:
            await self._store.change(name, partial(finish, int(due), OUTCOMES[outcome], round(seconds * 1000)))
        except Exception as error:
            logger.warning("the end of the run of %s could not be stored: %s", envelope.id, error)
        self._ended.set()

    def _require(self, name: str) -> None:
        if name not in self.scheduled:
            expected = ", ".join(sorted(self.scheduled)) or "none: this service has no schedules"
            raise ValueError(f"no schedule {name!r}; expected {expected}")

    async def _change(self, name: str, update: Update) -> StateChange:
        self._require(name)
        change = await self._store.change(name, update)
        self._metrics.published(name, len(change.envelopes))
        self._ended.set()
        return change

    async def _publish(self) -> float:
        """Publish the ticks that are due; return the seconds until the next one."""
        now, states = await self._store.read()
        wait = MAX_WAIT
        failures: list[Exception] = []
        for name, each in self.scheduled.items():
            try:
                wait = min(wait, await self._publish_due(each, states.get(name), now))
            except Exception as error:  # the row of one may be locked; others are due all the same
                failures.append(error)
        if failures:
            raise failures[0]
        if not self._is_cleaned:
            await self._store.delete_unseen(now - MAX_UNSEEN)
            self._is_cleaned = True
        return max(MIN_WAIT, wait)

    async def _publish_due(self, scheduled: ScheduledMessage, state: ScheduleState | None, now: int) -> float:
        """Publish the ticks of one schedule that are due; return the seconds until its next one."""
        state = await self._registered(scheduled, state, now)
        if publish_due(scheduled, state, now).state != state:  # decided again with a lock on the state
            state = await self._publish_one(scheduled)
        self._next[scheduled.schedule.name] = scheduled.next_publication(state)
        return self._seconds_until_next(scheduled, state, now)

    async def _registered(self, scheduled: ScheduledMessage, state: ScheduleState | None, now: int) -> ScheduleState:
        """Return *state*, after the rule of this process has taken effect, which happens once in each process."""
        name, rule = scheduled.schedule.name, str(scheduled.schedule.rule)
        if state is None or state.last < 0 or (state.rule != rule and name not in self._next):
            return (await self._store.change(name, partial(register, scheduled))).state
        if now - state.seen > SEEN_INTERVAL:
            return (await self._store.change(name, mark_seen)).state
        return state

    async def _publish_one(self, scheduled: ScheduledMessage) -> ScheduleState:
        name = scheduled.schedule.name
        change = await self._store.change(name, partial(publish_due, scheduled))
        self._metrics.published(name, len(change.envelopes))
        self._metrics.missed(name, change.missed)
        self._metrics.overlapped(name, change.overlapped)
        if change.missed:
            logger.warning("schedule %r has missed %d ticks", name, change.missed)
        return change.state

    def _seconds_until_next(self, scheduled: ScheduledMessage, state: ScheduleState, now: int) -> float:
        name = scheduled.schedule.name
        left = (self._next[name] - now) / 1000
        self._metrics.overdue(name).set(max(0.0, -left))
        if left <= 0 and scheduled.is_running(state, now) and scheduled.schedule.overlap == "queue":
            return QUEUED_INTERVAL
        return left

    def _report(self, error: Exception) -> None:
        """Log *error* once, and how long ticks have been due that could not be published."""
        if str(error) != self._last_error:
            logger.warning("ticks of schedules cannot be published, retrying: %s", error or type(error).__name__)
        self._last_error = str(error)
        now = round(time() * 1000)
        for name, moment in self._next.items():
            if moment != NEVER:
                self._metrics.overdue(name).set(max(0.0, (now - moment) / 1000))
