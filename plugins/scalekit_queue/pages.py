"""The page of the queues: depths, rates, consumers and dead letters, with their actions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from time import time
from typing import Any

from scalekit import Context, Redactor, Unavailable, format_duration
from scalekit.contracts import validate_message_name
from scalekit.pages import (
    ActionForm,
    Badge,
    Block,
    Cell,
    Column,
    ConsolePage,
    DataTable,
    Facts,
    Link,
    Notice,
    PageView,
    Text,
    Tone,
    Unit,
)
from scalekit.telemetry import histogram_quantile
from scalekit_queue import metrics
from scalekit_queue.activity import ACTIVITY, new_activity
from scalekit_queue.config import QueueConfig
from scalekit_queue.dead_letter_blocks import dead_letter, dead_letter_list
from scalekit_queue.factory import consumes
from scalekit_queue.job_blocks import job_actions, job_table
from scalekit_queue.outbox import MAX_COUNTED, Outbox
from scalekit_queue.pause_page import DEFAULT_PAUSE
from scalekit_queue.pauses import ConsumerState
from scalekit_queue.queue_actions import dead_letter_actions, pause_actions, queue_admin
from scalekit_queue.schedule_blocks import schedule_actions, schedule_table
from scalekit_queue.service import SERVICE, QueueService
from scalekit_queue.transport import QueueDepth

READ_TIMEOUT = 3.0
"""Seconds in which the queue must respond; the console waits for five."""
OUTBOX_TIMEOUT = 1.5
"""Seconds in which the database must respond."""
MAX_NAMES = 100
"""Queues in the table."""
QUEUES = (
    Column("queue"),
    Column("ready"),
    Column("delayed"),
    Column("in flight"),
    Column("dead"),
    Column("oldest", Unit.SECONDS),
    Column("published in the last minute"),
    Column("settled in the last minute"),
    Column("retries"),
    Column("handler p95", Unit.SECONDS),
)
PARTIAL = (
    "RabbitMQ lists neither delayed messages nor their ages to AMQP clients. Delayed are the messages in the queues of "
    "retries and of delays that this service has used; the oldest message is about as old as the one that this service "
    "received last, and unknown before the first."
)
CONSUMERS = (
    Column("worker"),
    Column("consumer"),
    Column("state"),
    Column("resumes in", Unit.SECONDS),
    Column("handlers running"),
    Column("concurrency"),
    Column("action"),
)
TONES = {
    ConsumerState.RUNNING: Tone.GOOD,
    ConsumerState.PAUSING: Tone.WARNING,
    ConsumerState.PAUSED: Tone.WARNING,
}


def queues_page(context: Context, config: QueueConfig) -> ConsolePage:
    """Return the page of the queues."""
    consumers = [each.name for each in config.load()]
    own = consumers if consumes(config, context) else []
    activity = context.shared(ACTIVITY, lambda: new_activity(context))
    redactor = Redactor(redact_configured=context.redact)

    async def collect(query: Mapping[str, str]) -> dict[str, Any]:
        service = context.get(SERVICE) if context.has(SERVICE) else None
        return {"activity": activity.describe(), **_describe(service)}

    async def render(view: PageView) -> Sequence[Block]:
        name = view.query.get("queue")
        if name:
            return await _queue_blocks(context, config, view, name, redactor)
        return [
            *_notices(view, own),
            await _summary(context),
            *await _queues(context, config, view, consumers),
            _consumers(view),
            *await job_table(context, redactor),
            *await schedule_table(context),
        ]

    actions = [*dead_letter_actions(context, config), *(pause_actions(context, own) if own else [])]
    actions += job_actions(context) if any(each.result_ttl is not None for each in config.load()) else []
    actions += schedule_actions(context) if config.has_schedules else []
    description = "Messages of every queue, consumers, dead letters that can be replayed, jobs, and schedules."
    return ConsolePage("queues", "Queues", render, collect, actions, description=description)


def _describe(service: QueueService | None) -> dict[str, Any]:
    """Return the transport's error and the consumers of this worker."""
    if service is None:
        return {"error": "stopped", "consumers": {}, "delay_queues": []}
    pauses = service.pauses
    return {
        "error": service.last_error,
        "delay_queues": service.delay_queues,
        "consumers": {
            runner.consumer.name: {
                "state": pauses.state(runner),
                "remaining": pauses.remaining(runner.consumer.name),
                "running": runner.running,
                "concurrency": runner.consumer.concurrency,
                "latest_published": runner.latest_published,
            }
            for runner in pauses.runners
        },
    }


def _notices(view: PageView, own: Collection[str]) -> list[Notice]:
    """Return what keeps messages from being handled: errors, and consumers that are paused."""
    errors = [
        Notice(f"Worker {worker}: {each['error']}", "Messages wait until the queue works again.", Tone.BAD)
        for worker, each in view.workers.items()
        if each["error"]
    ]
    if not own:
        return [*errors, Notice("This service consumes no messages.", tone=Tone.NEUTRAL)]
    paused = {
        name: consumer["remaining"]
        for each in view.workers.values()
        for name, consumer in each["consumers"].items()
        if consumer["remaining"] is not None
    }
    return errors + [
        Notice(f"The consumer of {name} is paused for another {remaining:.0f}s.", "Resume it below.")
        for name, remaining in sorted(paused.items())
    ]


async def _summary(context: Context) -> Facts:
    service = context.get(SERVICE)
    depth, lag = (None, None) if service.outbox is None else await _outbox(service.outbox)
    facts: dict[str, Cell] = {
        "transport": service.system,
        "state": Badge("failing", Tone.BAD) if service.last_error else Badge("working", Tone.GOOD),
        "messages in the outbox": f"more than {MAX_COUNTED}" if depth is not None and depth > MAX_COUNTED else depth,
        "outbox lag": lag,
    }
    return Facts(facts, "", {"outbox lag": Unit.SECONDS})


async def _outbox(outbox: Outbox) -> tuple[int | None, float | None]:
    """Return depth and lag, or None for both while the database is unavailable, which its own page reports."""
    try:
        async with asyncio.timeout(OUTBOX_TIMEOUT):
            return await outbox.depth(), await outbox.lag()
    except Exception:
        return None, None


async def _queues(context: Context, config: QueueConfig, view: PageView, consumers: Iterable[str]) -> Sequence[Block]:
    published = {name for each in view.workers.values() for name in each["activity"]}
    try:
        async with queue_admin(context, config, READ_TIMEOUT) as admin:
            names = sorted({*consumers, *await admin.names(), *filter(_is_name, published)})
            depths = [await admin.depth(name, _delay_queues(view)) for name in names[:MAX_NAMES]]
    except Unavailable as error:
        return [Notice(error.detail, "Counts of queues are missing; see the log.", Tone.BAD)]
    rows = [_row(view, depth) for depth in depths]
    table = DataTable(QUEUES, rows, "Queues", more=len(names) - len(rows), empty="no messages and no consumers")
    return [table, *([Text(PARTIAL)] if any(depth.is_partial for depth in depths) else [])]


def _delay_queues(view: PageView) -> set[str]:
    return {queue for each in view.workers.values() for queue in each["delay_queues"]}


def _oldest(view: PageView, depth: QueueDepth) -> Cell:
    """Return the age of the oldest ready message in seconds, or as a text what is known of it."""
    if not depth.ready or depth.oldest is not None:
        return None if depth.oldest is None else max(0.0, time() - depth.oldest)
    found = [each["consumers"][depth.name] for each in view.workers.values() if depth.name in each["consumers"]]
    latest = max((each["latest_published"] for each in found), default=0.0)
    return f"about {format_duration(time() - latest)}" if latest else "unknown"


def _row(view: PageView, depth: QueueDepth) -> tuple[Any, ...]:
    found = [each["activity"][depth.name] for each in view.workers.values() if depth.name in each["activity"]]
    running = sum(
        each["consumers"][depth.name]["running"] for each in view.workers.values() if depth.name in each["consumers"]
    )
    durations = [sum(counts) for counts in zip(*(each["durations"] for each in found), strict=True)]
    return (
        Link(depth.name, "queues", {"queue": depth.name}),
        depth.ready,
        f"at least {depth.delayed}" if depth.is_partial else depth.delayed,
        running if depth.in_flight is None else depth.in_flight,
        depth.dead,
        _oldest(view, depth),
        round(sum(each["published"] for each in found)),
        round(sum(each["settled"] for each in found)),
        int(sum(each["retries"] for each in found)),
        histogram_quantile(0.95, metrics.BUCKETS, durations) if durations else None,
    )


def _consumers(view: PageView, only: str = "") -> DataTable:
    rows = [
        (
            worker,
            name,
            Badge(each["state"], TONES[ConsumerState(each["state"])]),
            each["remaining"],
            each["running"],
            each["concurrency"],
            ActionForm("pause", {"queue": name, "for": DEFAULT_PAUSE}, f"Pause for {DEFAULT_PAUSE}")
            if each["remaining"] is None
            else ActionForm("resume", {"queue": name}),
        )
        for worker, found in view.workers.items()
        for name, each in found["consumers"].items()
        if only in ("", name)
    ]
    return DataTable(CONSUMERS, rows, "Consumers", empty="this service consumes no messages")


async def _queue_blocks(
    context: Context, config: QueueConfig, view: PageView, name: str, redactor: Redactor
) -> Sequence[Block]:
    if not _is_name(name):
        return [Notice(f"{name!r} is no name of a queue.")]
    try:
        async with queue_admin(context, config, READ_TIMEOUT) as admin:
            if message := view.query.get("message"):
                return await dead_letter(admin, name, message, redactor)
            depth = await admin.depth(name, _delay_queues(view))
            letters = await dead_letter_list(admin, name, depth.dead)
    except Unavailable as error:
        return [Notice(error.detail, "See the log.", Tone.BAD)]
    consumed = any(name in each["consumers"] for each in view.workers.values())
    consumers: list[Block] = [_consumers(view, name), ActionForm("pause", {"queue": name})] if consumed else []
    return [DataTable(QUEUES, [_row(view, depth)], f"Queue {name}"), *consumers, *letters]


def _is_name(name: str) -> bool:
    try:
        return bool(validate_message_name(name))
    except ValueError:
        return False
