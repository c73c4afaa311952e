"""What operators see of schedules, for the operator page and the console."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scalekit_queue.schedules.decision import ENDED, NEVER, ScheduledMessage
from scalekit_queue.schedules.scheduler import Scheduler
from scalekit_queue.schedules.state import ScheduleState

UNDECLARED = "undeclared"


@dataclass(frozen=True, slots=True)
class ScheduleDescription:
    """One schedule; moments are ISO 8601 in UTC, or empty where there is none.

    *outcome* is ``running``, ``done``, ``failed``, ``retried``, ``cancelled`` or empty before the first run; *state* is
    ``active``, ``paused``, or ``undeclared`` for a schedule that only other processes have, or that was removed.
    """

    name: str
    rule: str
    state: str
    last: str
    next: str
    outcome: str
    duration: float | None


async def describe_schedules(scheduler: Scheduler) -> Sequence[ScheduleDescription]:
    """Return every schedule of this service, then those that have only a state."""
    _, states = await scheduler.states()
    own = [
        _describe(each, states.get(name, ScheduleState(name, str(each.schedule.rule))))
        for name, each in sorted(scheduler.scheduled.items())
    ]
    return [*own, *(_describe(None, states[name]) for name in sorted(states.keys() - scheduler.scheduled.keys()))]


def _describe(scheduled: ScheduledMessage | None, state: ScheduleState) -> ScheduleDescription:
    following = NEVER if scheduled is None or state.last < 0 else scheduled.next_publication(state)
    kind = UNDECLARED if scheduled is None else "paused" if state.paused else "active"
    duration = state.duration / 1000 if state.outcome in ENDED else None
    return ScheduleDescription(
        state.name, state.rule, kind, _moment(state.published), _moment(following), state.outcome, duration
    )


def _moment(milliseconds: int) -> str:
    if milliseconds in (0, NEVER):
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
