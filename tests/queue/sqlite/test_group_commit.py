"""Operations of one transaction fail alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scalekit_queue.envelope import Envelope
from scalekit_queue.sqlite.group_commit import GroupCommitWriter
from scalekit_queue.sqlite.store import MessageStore
from tests.queue.harness import LIMIT

pytestmark = pytest.mark.anyio


async def test_an_operation_that_cannot_be_executed_fails_alone(tmp_path: Path) -> None:
    writer = GroupCommitWriter(MessageStore(str(tmp_path / "queue.db"), "normal"))
    envelopes = [
        Envelope("data.created", "first", b"1", 0.0),
        Envelope("data.created", "broken", b"2", 0.0, {"name": "\ud800"}),
        Envelope("data.created", "last", b"3", 0.0),
    ]
    async with writer.open(), asyncio.timeout(LIMIT):
        operations = [writer.execute(writer.store.insert, [each]) for each in envelopes]
        results = await asyncio.gather(*operations, return_exceptions=True)
        stored = await writer.run(writer.store.peek, "data.created", False, 10)
    assert [type(each) for each in results] == [type(None), TypeError, type(None)]
    assert [each.id for each in stored] == ["first", "last"]
