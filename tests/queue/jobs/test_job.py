"""Results, notes and records of one job."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from time import time
from typing import Any

import pytest

from scalekit.contracts import JobState, Message
from scalekit_queue.envelope import Envelope
from scalekit_queue.jobs.job import MAX_NOTE, MAX_RESULT, Job, JobCancelled
from scalekit_queue.jobs.store import JobRecord
from scalekit_queue.metrics import ConsumeOutcome

pytestmark = pytest.mark.anyio


class Records:
    """Takes the records of a job, and allows them unless it was cancelled."""

    def __init__(self) -> None:
        self.written: list[JobRecord] = []
        self.allows = True

    async def write(self, record: JobRecord) -> bool:
        self.written.append(record)
        return self.allows

    def job(self) -> Job:
        return Job(Envelope("resize", "1", b"", time()), 60.0, self.write)


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ("x" * MAX_RESULT, f"the result is not kept: it has {MAX_RESULT + 2} bytes, more than {MAX_RESULT}"),
        (object(), "the result is not kept: JSON cannot represent the value"),
        (float("nan"), "the result is not kept: "),
    ],
    ids=["large", "object", "nan"],
)
async def test_a_result_that_cannot_be_kept_is_named_and_the_job_has_succeeded(result: Any, error: str) -> None:
    records = Records()
    job = records.job()
    job.keep_result(result)
    await job.end(ConsumeOutcome.DONE, "")
    (record,) = records.written
    assert (record.state, record.result) == (JobState.SUCCEEDED, None)
    assert record.error.startswith(error)


async def test_a_job_expires_its_time_after_the_end_and_not_while_it_may_run_again() -> None:
    records = Records()
    before = time()
    for outcome in (ConsumeOutcome.DONE, ConsumeOutcome.RETRIED):
        await records.job().end(outcome, "")
    done, retrying = records.written
    assert before + 60 <= done.expires <= time() + 60
    assert retrying.expires > before + 86400
    assert retrying.ended is None


async def test_a_cancelled_job_does_not_begin() -> None:
    records = Records()
    records.allows = False
    job = records.job()
    with pytest.raises(JobCancelled):
        await job.begin()
    await job.end(ConsumeOutcome.CANCELLED, "")
    assert (records.written[-1].state, records.written[-1].attempt) == (JobState.CANCELLED, 0)
    assert records.written[-1].started is None


async def test_texts_that_no_database_stores_are_replaced() -> None:
    records = Records()
    job = Job(Envelope("resize", "1\0\ud800", b"", time()), 60.0, records.write)
    message = Message("resize", "1", None, {}, 1, 0.0, None, None, job.report)  # type: ignore[arg-type]  # no context
    message.progress(Decimal("0.5"), "a\0\ud800")  # type: ignore[arg-type]  # numbers that JSON encoders refuse
    await job.end(ConsumeOutcome.RETRIED, "b\0\udfff")
    (record,) = records.written
    assert (record.id, record.note, record.error) == ("1?", "a?", "b?")
    assert job.key == ("resize", "1?")
    assert type(record.progress) is float


async def test_progress_is_reported_from_a_thread_and_bounded() -> None:
    records = Records()
    job = records.job()
    message = Message("resize", "1", None, {}, 1, 0.0, None, None, job.report)  # type: ignore[arg-type]  # no context
    await asyncio.to_thread(message.progress, 0.5, "é" * 1000)
    assert job.has_news
    assert (job.record.progress, job.record.note) == (0.5, "é" * MAX_NOTE)
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="expected a fraction from 0 to 1"):
            message.progress(fraction)
