from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from scalekit.contracts import CONSISTENCY, Consistency
from scalekit_pool.database import PooledDatabase
from tests.pool.harness import wait_until_released
from tests.pool.schema import CHILDREN, ITEMS, PARENTS, create, names, put

pytestmark = pytest.mark.anyio


@pytest.fixture
async def items(database: PooledDatabase) -> AsyncGenerator[PooledDatabase, None]:
    await create(database, ITEMS)
    yield database
    await wait_until_released(database)


async def test_possibly_committed_writes_count_for_consistency(items: PooledDatabase) -> None:
    async def noted(*steps: Any) -> list[bool]:
        CONSISTENCY.set(consistency := Consistency())
        found = []
        for step in steps:
            await step()
            found.append(consistency.wrote)
        return found

    async def inside() -> None:
        async with items.transaction():
            await put(items, "d")
            assert not CONSISTENCY.get().wrote  # type: ignore[union-attr]

    async def failing() -> None:
        with pytest.raises(Exception, match=r"(?i)foreign key"):
            async with items.transaction():
                await items.execute("INSERT INTO children VALUES (1, 2)")

    await create(items, PARENTS, CHILDREN)
    read = lambda: names(items)  # noqa: E731
    write = lambda: put(items, "a")  # noqa: E731
    soon = lambda: items.insert_soon(ITEMS, {"id": 5, "name": "soon"})  # noqa: E731
    many = lambda: items.insert_many(ITEMS, [{"id": 6, "name": "many"}])  # noqa: E731
    assert await asyncio.create_task(noted(read, write)) == [False, True]
    assert await asyncio.create_task(noted(inside)) == [True]
    assert await asyncio.create_task(noted(many)) == [True]
    assert await asyncio.create_task(noted(failing)) == [True]
    others = [
        asyncio.create_task(noted(lambda n=n: items.insert_soon(ITEMS, {"id": n, "name": f"s{n}"})))
        for n in range(1000, 1003)
    ]
    assert await asyncio.gather(*others, asyncio.create_task(noted(soon))) == [[True]] * 4
