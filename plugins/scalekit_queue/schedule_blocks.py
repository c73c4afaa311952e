"""The table of schedules on the page of queues, and its actions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from scalekit import Context, mask_passwords
from scalekit.pages import ActionForm, Badge, Block, Cell, Column, DataTable, FormField, Notice, PageAction, Tone, Unit
from scalekit_queue.schedule_page import change_schedule
from scalekit_queue.schedules.description import UNDECLARED, ScheduleDescription, describe_schedules
from scalekit_queue.service import SERVICE

logger = logging.getLogger("scalekit.queue")

TIMEOUT = 3.0
"""Seconds in which the states must be read or changed; the console waits for five."""
MAX_ROWS = 200
SCHEDULES = (
    Column("schedule"),
    Column("rule"),
    Column("state"),
    Column("last"),
    Column("next"),
    Column("outcome"),
    Column("duration", Unit.SECONDS),
    Column("action"),
    Column("run"),
)
STATES = {"active": Tone.GOOD, "paused": Tone.WARNING, UNDECLARED: Tone.NEUTRAL}
OUTCOMES = {"done": Tone.GOOD, "failed": Tone.BAD, "retried": Tone.WARNING, "running": Tone.NEUTRAL}
FIELD = FormField("schedule", "Schedule", required=True)


async def schedule_table(context: Context) -> Sequence[Block]:
    """Return the table of the schedules, nothing in a service without any."""
    scheduler = context.get(SERVICE).scheduler
    if scheduler is None:
        return []
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await describe_schedules(scheduler)
    except Exception as error:
        logger.warning("the console cannot read the schedules: %s", mask_passwords(str(error)), exc_info=error)
        return [Notice("The states of the schedules cannot be read.", "See the log.", Tone.BAD)]
    rows = [_row(each) for each in found[:MAX_ROWS]]
    return [DataTable(SCHEDULES, rows, "Schedules", more=len(found) - len(rows))]


def schedule_actions(context: Context) -> Sequence[PageAction]:
    """Return the actions that pause, resume and trigger a schedule in all instances."""

    def change(action: str) -> Callable[[Mapping[str, str]], Awaitable[str]]:
        async def run(values: Mapping[str, str]) -> str:
            scheduler = context.get(SERVICE).scheduler
            if scheduler is None:
                raise ValueError("this service has no schedules")
            async with asyncio.timeout(TIMEOUT):
                return await change_schedule(scheduler, action, values["schedule"])

        return run

    return [
        PageAction("pause-schedule", "Pause", change("pause"), [FIELD]),
        PageAction("resume-schedule", "Resume", change("resume"), [FIELD]),
        PageAction("trigger", "Run now", change("trigger"), [FIELD], confirm="Publish a tick of this schedule now?"),
    ]


def _row(each: ScheduleDescription) -> tuple[Cell, ...]:
    fields = {"schedule": each.name}
    is_own = each.state != UNDECLARED
    action = ActionForm("resume-schedule" if each.state == "paused" else "pause-schedule", fields)
    return (
        each.name,
        each.rule,
        Badge(each.state, STATES[each.state]),
        each.last,
        each.next,
        Badge(each.outcome, OUTCOMES[each.outcome]) if each.outcome else None,
        each.duration,
        action if is_own else None,
        ActionForm("trigger", fields) if is_own else None,
    )
