"""Calls of tasks and their attempts are kept as long as the status of their messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from scalekit_queue.jobs import task_results
from scalekit_queue.jobs.job import UNFINISHED_TTL
from scalekit_queue.jobs.task_results import TaskResultStore
from scalekit_queue.sqlite.group_commit import GroupCommitWriter
from scalekit_queue.sqlite.jobs import JobFile
from scalekit_queue.sqlite.store import MessageStore

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def open_store(folder: Path) -> AsyncGenerator[TaskResultStore, None]:
    writer = GroupCommitWriter(MessageStore(str(folder / "queue.db"), "normal"))
    async with writer.open():
        yield TaskResultStore(JobFile(writer, lambda: None), "")


async def test_a_call_is_stored_before_its_message_has_a_status(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await store.add("a", {"task": "x"}, 0.0)
        record = await store.read("a")
        await store.withdraw("a")
        assert record is not None
        assert (record.call, record.attempts, record.status) == ({"task": "x"}, [], None)
        assert await store.read("a") is None


async def test_attempts_are_appended_also_to_a_call_whose_row_is_gone(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await store.add_attempt("a", {}, {"error": "\u2028\n"}, None)
        assert await store.add_attempt("a", {}, {"worker": "w"}, 60.0) == [{"error": "\u2028\n"}, {"worker": "w"}]
        assert await store.read("a") is None, "an attempt has a status, which has expired"


async def test_attempts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(tmp_path) as store:
        change = {"traceback": "x" * 50_000}
        counts = [len(await store.add_attempt("a", {}, change, None)) for _ in range(5)]
    assert counts == [1, 2, 3, 3, 3]


async def test_expired_calls_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_results, "CLEANUP_INTERVAL", 0.0)
    async with open_store(tmp_path) as store:
        await store.add("old", {}, -UNFINISHED_TTL - 1.0)
        assert await store.read("old") is None
        await store.add("new", {}, 0.0)
        await store.add("old", {"task": "x"}, 0.0)
        record = await store.read("old")
    assert record is not None
    assert record.call == {"task": "x"}, "the expired one was deleted"
