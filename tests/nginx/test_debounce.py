from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from scalekit_nginx.debounce import settled

pytestmark = pytest.mark.anyio


async def fed(queue: asyncio.Queue[list[str] | None]) -> AsyncGenerator[list[str], None]:
    while (item := await queue.get()) is not None:
        yield item


async def shown(changes: Sequence[list[str]], patience: float) -> list[list[str]]:
    queue: asyncio.Queue[list[str] | None] = asyncio.Queue()
    for each in changes:
        queue.put_nowait(each)
    queue.put_nowait(None)
    async with aclosing(settled(fed(queue), patience)) as real:
        return [each async for each in real]


async def test_an_instance_that_comes_back_in_time_is_no_change() -> None:
    assert await shown([["a", "b"], ["a"], ["a", "b"]], 60) == [["a", "b"]]


async def test_a_new_instance_is_shown_at_once_beside_one_that_has_just_gone() -> None:
    assert await shown([["a"], ["b"]], 60) == [["a"], ["a", "b"]]


async def test_without_patience_everything_is_shown() -> None:
    assert await shown([["a", "b"], ["a"], ["b"]], 0) == [["a", "b"], ["a"], ["b"]]


async def test_one_that_stays_away_is_taken_out_though_nothing_else_changes() -> None:
    queue: asyncio.Queue[list[str] | None] = asyncio.Queue()
    queue.put_nowait(["a", "b"])
    async with aclosing(settled(fed(queue), 0.05)) as real:
        assert await anext(real) == ["a", "b"]
        queue.put_nowait(["a"])
        async with asyncio.timeout(60):
            assert await anext(real) == ["a"]
