"""The table of jobs on the page of queues, and the action that cancels one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from time import time

from scalekit import Context, Redactor, mask_passwords
from scalekit.contracts import JobState, JobStatus
from scalekit.pages import ActionForm, Badge, Block, Cell, Column, DataTable, FormField, Notice, PageAction, Tone, Unit
from scalekit_queue.jobs.tracker import JobTracker
from scalekit_queue.service import SERVICE

logger = logging.getLogger("scalekit.queue")

TIMEOUT = 3.0
"""Seconds in which jobs must be read or cancelled; the console waits for five."""
MAX_ROWS = 50
"""Jobs in the table, and jobs of each state that are read."""
JOBS = (
    Column("job", code=True),
    Column("consumer"),
    Column("state"),
    Column("progress", Unit.RATIO),
    Column("note"),
    Column("attempt"),
    Column("age", Unit.SECONDS),
    Column("duration", Unit.SECONDS),
    Column("error"),
    Column("action"),
)
TONES = {
    JobState.QUEUED: Tone.NEUTRAL,
    JobState.RUNNING: Tone.GOOD,
    JobState.RETRYING: Tone.WARNING,
    JobState.CANCELLING: Tone.WARNING,
    JobState.SUCCEEDED: Tone.GOOD,
    JobState.FAILED: Tone.BAD,
    JobState.CANCELLED: Tone.NEUTRAL,
}


async def job_table(context: Context, redactor: Redactor) -> Sequence[Block]:
    """Return the table of the jobs, whose texts *redactor* masks; nothing when no consumer has ``result_ttl``."""
    tracker = _tracker(context)
    if tracker is None:
        return []
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await tracker.store.read_recent(MAX_ROWS)
    except Exception as error:
        logger.warning("the console cannot read the jobs: %s", mask_passwords(str(error)), exc_info=error)
        return [Notice("The states of the jobs cannot be read.", "See the log.", Tone.BAD)]
    rows = [_row(each, redactor) for each in found[:MAX_ROWS]]
    return [DataTable(JOBS, rows, "Jobs", empty="no jobs within their result_ttl")]


def job_actions(context: Context) -> Sequence[PageAction]:
    """Return the action that cancels a job."""

    async def cancel(values: Mapping[str, str]) -> str:
        tracker = _tracker(context)
        if tracker is None:
            raise ValueError("this service has no jobs")
        async with asyncio.timeout(TIMEOUT):
            is_cancelled = await tracker.cancel(values["job"])
        return f"cancelled {values['job']}" if is_cancelled else f"{values['job']} had ended, or is unknown"

    field = FormField("job", "Job", required=True)
    return [PageAction("cancel-job", "Cancel", cancel, [field], confirm="Cancel this job? Its handler is interrupted.")]


def _tracker(context: Context) -> JobTracker | None:
    stores = context.get(SERVICE).stores
    return stores.jobs if stores is not None and stores.jobs else None


def _row(job: JobStatus, redactor: Redactor) -> tuple[Cell, ...]:
    ended = job.ended or time()
    return (
        job.id,
        job.name,
        Badge(job.state, TONES[job.state]),
        None if job.state is JobState.QUEUED else job.progress,
        redactor.redact(job.note) or None,
        job.attempt,
        max(0.0, time() - job.published),
        None if job.started is None else max(0.0, ended - job.started),
        redactor.redact(job.error) or None,
        None if job.state.is_final else ActionForm("cancel-job", {"job": job.id}),
    )
