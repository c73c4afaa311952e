"""Decide what happens with the ticks of a schedule: a function of its state and the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import orjson

from scalekit.contracts import Schedule
from scalekit_queue.envelope import RESERVED_PREFIX, Envelope
from scalekit_queue.schedules.state import ScheduleState, StateChange

SCHEDULE = f"{RESERVED_PREFIX}schedule"
DUE = f"{RESERVED_PREFIX}due"
MAX_MISSED = 1000
"""Ticks before now that are looked at; older ones are dropped."""
MAX_PUBLISHED = 100
"""Ticks that are published in one transaction."""
GRACE = 60_000
"""Time after which a tick counts as missed."""
MAX_CLOCK_STEP = 3 * 3600 * 1000
"""A clock set back by more than this, as in cron, is a correction: the schedule continues at the new time."""
NEVER = 1 << 62
RUNNING = "running"
DONE, FAILED, RETRIED, CANCELLED = "done", "failed", "retried", "cancelled"
ENDED = (DONE, FAILED, RETRIED, CANCELLED)


@dataclass(frozen=True, slots=True)
class ScheduledMessage:
    """A schedule, the name and the body of its messages, and the time after which a run counts as lost.

    *prefix* is that of the service, whose ticks have other ids than those of others that use the same database.
    """

    schedule: Schedule
    message: str
    body: bytes | None
    max_run: int
    prefix: str = ""

    def envelope(self, tick: int, now: int) -> Envelope:
        """Return the message of *tick*, whose id is the same in every process."""
        name = self.schedule.name
        due = datetime.fromtimestamp(tick / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        body = self.body if self.body is not None else orjson.dumps({"schedule": name, "due": due})
        return Envelope(self.message, f"{self.prefix}{name}@{due}", body, now / 1000, {SCHEDULE: name, DUE: str(tick)})

    def is_running(self, state: ScheduleState, now: int) -> bool:
        """Return whether the message of the tick before is not handled yet."""
        return bool(state.running) and now - state.published < self.max_run

    def next_publication(self, state: ScheduleState) -> int:
        """Return when the next tick is published, NEVER while the schedule is paused."""
        moment = None if state.paused else self.schedule.next_publication(state.last)
        return NEVER if moment is None else moment


def register(scheduled: ScheduledMessage, state: ScheduleState, now: int) -> StateChange:
    """Begin a new schedule, or one with another rule, at *now*: it has missed nothing before."""
    rule = str(scheduled.schedule.rule)
    last = now if state.last < 0 else state.last if state.rule == rule else max(state.last, now)
    return StateChange(replace(state, rule=rule, last=last, seen=now))


def mark_seen(state: ScheduleState, now: int) -> StateChange:
    """Record that a process has the schedule."""
    return StateChange(replace(state, seen=now))


def publish_due(scheduled: ScheduledMessage, state: ScheduleState, now: int) -> StateChange:
    """Publish the ticks that are due at *now*, or drop them, by the policies of the schedule."""
    schedule = scheduled.schedule
    if state.last - now > MAX_CLOCK_STEP:
        return StateChange(replace(state, last=now, running=0))
    ready = [] if state.paused else schedule.ready(state.last, now, MAX_MISSED)
    is_running = scheduled.is_running(state, now)
    if not ready or (is_running and schedule.overlap == "queue"):
        return StateChange(state)
    if is_running and schedule.overlap == "skip":
        return StateChange(replace(state, last=ready[-1]), overlapped=len(ready))
    return _publish(scheduled, state, now, ready)


def _publish(scheduled: ScheduledMessage, state: ScheduleState, now: int, ready: Sequence[int]) -> StateChange:
    schedule = scheduled.schedule
    published, missed, last = ready[-1:], len(ready) - 1, ready[-1]
    if schedule.missed == "run_all":
        published, missed = ready[: MAX_PUBLISHED if schedule.overlap == "allow" else 1], 0
        last = published[-1]
    elif schedule.missed == "skip" and now - schedule.publish_at(last) > GRACE:
        published, missed = [], len(ready)
    envelopes = [scheduled.envelope(tick, now) for tick in published]
    if published:
        state = replace(state, published=now, running=published[-1], outcome=RUNNING)
    return StateChange(replace(state, last=last), envelopes, missed=missed)


def trigger(scheduled: ScheduledMessage, state: ScheduleState, now: int) -> StateChange:
    """Publish a tick that is due at *now*, unless the overlap policy forbids it."""
    name = scheduled.schedule.name
    if scheduled.is_running(state, now) and scheduled.schedule.overlap != "allow":
        return StateChange(state, refusal=f"{name} is running; trigger it when it has ended, or set overlap = allow")
    changed = replace(state, published=now, running=now, outcome=RUNNING)
    return StateChange(changed, [scheduled.envelope(now, now)])


def pause(state: ScheduleState, now: int) -> StateChange:
    """Publish no ticks from *now* on."""
    return StateChange(replace(state, paused=state.paused or now))


def resume(state: ScheduleState, now: int) -> StateChange:
    """Publish ticks from *now* on; those since the pause began are not made up for."""
    return StateChange(replace(state, paused=0, last=max(state.last, now)) if state.paused else state)


def finish(tick: int, outcome: str, duration: int, state: ScheduleState, now: int) -> StateChange:
    """Record the *outcome* of the run of *tick*, which has ended by *now* unless it is retried."""
    ended = outcome != RETRIED and state.running == tick
    return StateChange(replace(state, running=0 if ended else state.running, outcome=outcome, duration=duration))
