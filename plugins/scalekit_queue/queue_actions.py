"""The actions of the page of queues: replay and delete dead letters, pause and resume consumers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

from scalekit import Context, Unavailable, mask_passwords
from scalekit.contracts import validate_message_name
from scalekit.pages import FormField, PageAction
from scalekit_queue.admin import open_admin
from scalekit_queue.config import QueueConfig
from scalekit_queue.pause_page import DEFAULT_PAUSE, check_consumer, parse_pause
from scalekit_queue.service import SERVICE
from scalekit_queue.transport import QueueAdmin

logger = logging.getLogger("scalekit.queue")

ACTION_TIMEOUT = 4.0
"""Seconds of an action; the console waits for five."""
MAX_REPLAYED = 500
"""Dead letters that one action replays."""

QUEUE_FIELD = FormField("queue", "Queue", required=True)
MESSAGE_FIELD = FormField("message", "Message", required=True)


@asynccontextmanager
async def queue_admin(context: Context, config: QueueConfig, timeout: float) -> AsyncGenerator[QueueAdmin, None]:
    """Connect to the queue for at most *timeout* seconds; raise Unavailable when that or its use fails."""
    try:
        async with asyncio.timeout(timeout), open_admin(config, context) as admin:
            yield admin
    except TimeoutError:
        detail = f"the queue does not respond within {timeout:g}s"
        raise Unavailable(detail, detail=detail) from None
    except (ValueError, Unavailable):
        raise
    except Exception as error:
        logger.warning("the console cannot read or change the queue: %s", mask_passwords(str(error)), exc_info=error)
        detail = f"the queue cannot be read or changed: {error or type(error).__name__}"
        raise Unavailable(detail, detail=detail) from error


def dead_letter_actions(context: Context, config: QueueConfig) -> Sequence[PageAction]:
    """Return the actions on dead letters, which do what ``scalekit queue replay`` and ``purge`` do."""

    async def replay(values: Mapping[str, str]) -> str:
        async with queue_admin(context, config, ACTION_TIMEOUT) as admin:
            count = await admin.replay(_queue(values), [values["message"]], MAX_REPLAYED)
        return f"replayed {count} of {values['queue']}"

    async def replay_all(values: Mapping[str, str]) -> str:
        async with queue_admin(context, config, ACTION_TIMEOUT) as admin:
            count = await admin.replay(_queue(values), [], MAX_REPLAYED)
            rest = (await admin.depth(values["queue"])).dead
        return f"replayed {count} of {values['queue']}" + (f"; dead letters: {rest}" if rest else "")

    async def delete(values: Mapping[str, str]) -> str:
        async with queue_admin(context, config, ACTION_TIMEOUT) as admin:
            count = await admin.purge(_queue(values), True, [values["message"]])
        return f"deleted {count} of {values['queue']}"

    one = (QUEUE_FIELD, MESSAGE_FIELD)
    again = "Handle this message again, from attempt 1?"
    everything = f"Handle the first {MAX_REPLAYED} dead letters of this queue again, from attempt 1?"
    return [
        PageAction("replay", "Replay", replay, one, confirm=again),
        PageAction("replay-all", "Replay all", replay_all, [QUEUE_FIELD], confirm=everything),
        PageAction("delete", "Delete", delete, one, confirm="Delete this message? It cannot be restored."),
    ]


def pause_actions(context: Context, names: Collection[str]) -> Sequence[PageAction]:
    """Return the actions that pause and resume the consumers *names* in all workers."""

    async def pause(values: Mapping[str, str]) -> str:
        name, duration = check_consumer(names, values["queue"]), parse_pause(values["for"] or DEFAULT_PAUSE)
        await context.get(SERVICE).pauses.pause(name, duration)
        return f"paused {name} in all workers for {duration}"

    async def resume(values: Mapping[str, str]) -> str:
        name = check_consumer(names, values["queue"])
        await context.get(SERVICE).pauses.resume(name)
        return f"resumed {name} in all workers"

    duration = FormField("for", "For", placeholder=DEFAULT_PAUSE)
    return [
        PageAction("pause", "Pause", pause, [QUEUE_FIELD, duration]),
        PageAction("resume", "Resume", resume, [QUEUE_FIELD]),
    ]


def _queue(values: Mapping[str, str]) -> str:
    return validate_message_name(values["queue"])
