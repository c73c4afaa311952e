"""Expired jobs are deleted in batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalekit.contracts import JobState
from scalekit_queue.jobs.statements import DELETE_BATCH
from scalekit_queue.jobs.store import JobRecord, JobStore
from scalekit_queue.sqlite.group_commit import GroupCommitWriter
from scalekit_queue.sqlite.jobs import JobFile
from scalekit_queue.sqlite.store import MessageStore

pytestmark = pytest.mark.anyio


async def test_whether_more_jobs_have_expired_than_one_statement_deletes_is_told(tmp_path: Path) -> None:
    writer = GroupCommitWriter(MessageStore(str(tmp_path / "queue.db"), "normal"))
    expired = [JobRecord(str(number), "resize", JobState.FAILED, 1, 0.0, 1.0) for number in range(DELETE_BATCH + 1)]
    async with writer.open():
        store = JobStore(JobFile(writer, lambda: None), "")
        await store.write(expired)
        assert [await store.delete_expired() for _ in range(3)] == [True, False, False]
