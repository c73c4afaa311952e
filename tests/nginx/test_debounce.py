from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from scalekit_nginx.debounce import debounced

pytestmark = pytest.mark.anyio


async def updates_from(queue: asyncio.Queue[list[str] | None]) -> AsyncGenerator[list[str], None]:
    while (item := await queue.get()) is not None:
        yield item


async def published(updates: Sequence[list[str]], delay: float) -> list[list[str]]:
    queue: asyncio.Queue[list[str] | None] = asyncio.Queue()
    for each in updates:
        queue.put_nowait(each)
    queue.put_nowait(None)
    async with aclosing(debounced(updates_from(queue), delay)) as changes:
        return [each async for each in changes]


async def test_an_instance_that_returns_within_the_delay_causes_no_change() -> None:
    assert await published([["a", "b"], ["a"], ["a", "b"]], 60) == [["a", "b"]]


async def test_a_new_instance_is_published_at_once_beside_a_missing_one() -> None:
    assert await published([["a"], ["b"]], 60) == [["a"], ["a", "b"]]


async def test_without_a_delay_every_change_is_published() -> None:
    assert await published([["a", "b"], ["a"], ["b"]], 0) == [["a", "b"], ["a"], ["b"]]


async def test_a_missing_instance_is_removed_after_the_delay_without_another_update() -> None:
    queue: asyncio.Queue[list[str] | None] = asyncio.Queue()
    queue.put_nowait(["a", "b"])
    async with aclosing(debounced(updates_from(queue), 0.05)) as changes:
        assert await anext(changes) == ["a", "b"]
        queue.put_nowait(["a"])
        async with asyncio.timeout(60):
            assert await anext(changes) == ["a"]
