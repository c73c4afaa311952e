"""Sessions prepare as many statements as SQLAlchemy's own engine on asyncpg, each once for a connection."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import selectinload

from tests.pool.conftest import POSTGRES
from tests.pool.harness import opened
from tests.pool.orm.shop import Author, Book, shop

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("url", [POSTGRES], indirect=True)]

PREPARED = text("SELECT statement FROM pg_prepared_statements")


async def work(session: AsyncSession) -> None:
    """Read, write and delete objects, alone and in numbers, by statements that a server prepares."""
    for turn in range(3):
        author = (await session.scalars(select(Author).options(selectinload(Author.books)))).one()
        assert await session.get(Author, author.id, populate_existing=True) is author
        session.add(Author(name=f"one {turn}"))
        await session.flush()
        session.add_all([Author(name=f"many {turn} {number}") for number in range(200)])
        await session.flush()
        await session.scalars(select(Author).where(Author.id.in_([1, 2, 3])))
        await session.execute(update(Book).where(Book.author_id == author.id).values(title=f"title {turn}"))
        await session.execute(delete(Author).where(Author.id != author.id))
        await session.commit()


async def prepared_by(session: AsyncSession) -> Counter[str]:
    await work(session)
    found: Counter[str] = Counter((await session.scalars(PREPARED)).all())
    await session.commit()
    return Counter({sql: number for sql, number in found.items() if "authors" in sql or "books" in sql})


async def test_sessions_prepare_what_sqlalchemys_own_engine_prepares(url: str) -> None:
    async with opened(url) as creator, shop(creator):
        pass
    async with opened(url, max_size=1) as database, database.sessions() as session:
        ours = await prepared_by(session)
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"), pool_size=1)
    async with AsyncSession(engine) as session:
        theirs = await prepared_by(session)
    await engine.dispose()
    assert len(ours) >= 7
    assert ours == theirs
    assert set(ours.values()) == {1}
