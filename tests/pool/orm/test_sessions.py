"""Sessions read, write, commit and roll back through the pool, on each database."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from scalekit import StartError
from scalekit_pool.database import PooledDatabase
from scalekit_pool.orm.sessions import load_session_class
from tests.pool.harness import all_released, wait_until_released
from tests.pool.orm.shop import Author, Book, shop

pytestmark = pytest.mark.anyio


async def names(session: AsyncSession) -> list[str]:
    return [*(await session.scalars(select(Author.name).order_by(Author.name)))]


async def test_a_session_loads_objects_and_their_relationships(database: PooledDatabase) -> None:
    async with shop(database) as session:
        author = (await session.scalars(select(Author).options(selectinload(Author.books)))).one()
        assert [(book.title, book.price, book.details) for book in author.books] == [
            ("one", Decimal("1.50"), {"pages": [1]}),
            ("two", None, None),
        ]
        assert await session.get(Author, author.id) is author
        assert await session.get(Author, 99) is None
        assert await session.get(Book, author.books[0].id) is author.books[0]
        assert all_released(database)


async def test_a_commit_keeps_what_a_flush_wrote_and_a_rollback_does_not(database: PooledDatabase) -> None:
    async with shop(database) as session:
        session.add(Author(name="bob"))
        await session.commit()
        assert all_released(database)
        session.add(Author(name="carl"))
        await session.flush()
        assert not all_released(database)
        assert await names(session) == ["anna", "bob", "carl"]
        await session.rollback()
        assert all_released(database)
        assert await names(session) == ["anna", "bob"]


async def test_objects_can_be_read_after_the_commit(database: PooledDatabase) -> None:
    async with shop(database) as session:
        session.add(author := Author(name="bob"))
        await session.commit()
        assert (author.id, author.name) == (2, "bob")


async def test_an_open_transaction_is_rolled_back_at_the_end_of_the_session(database: PooledDatabase) -> None:
    async with shop(database):
        pass
    async with database.sessions() as session:
        session.add(Author(name="bob"))
        await session.flush()
    assert all_released(database)
    async with database.sessions() as session:
        assert await names(session) == ["anna"]


async def test_an_error_of_the_database_is_an_error_of_sqlalchemy(database: PooledDatabase) -> None:
    async with shop(database) as session:
        session.add(Author(name="anna"))
        with pytest.raises(IntegrityError) as caught:
            await session.commit()
        if database.dialect == "postgresql":
            assert caught.value.orig is not None
            assert getattr(caught.value.orig, "pgcode", "") == "23505"
        assert "[SQL parameters hidden" in str(caught.value)
        await session.rollback()
        assert await names(session) == ["anna"]
    await wait_until_released(database)


async def test_a_savepoint_is_rolled_back_alone(database: PooledDatabase) -> None:
    async with shop(database) as session:
        session.add(Author(name="bob"))
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                session.add(Author(name="anna"))
        async with session.begin_nested():
            session.add(Author(name="carl"))
        await session.commit()
        assert await names(session) == ["anna", "bob", "carl"]
        assert all_released(database)


async def test_a_thousand_objects_in_one_flush(database: PooledDatabase) -> None:
    async with shop(database) as session:
        authors = [Author(name=f"name {number}") for number in range(1000)]
        session.add_all(authors)
        await session.flush()
        assert len({author.id for author in authors}) == 1000
        await session.commit()
        assert await session.scalar(select(func.count()).select_from(Author)) == 1001


async def test_changes_of_many_objects_are_counted(database: PooledDatabase) -> None:
    async with shop(database) as session:
        books = (await session.scalars(select(Book))).all()
        for book in books:
            book.title = book.title.upper()
        await session.commit()
        assert [*(await session.scalars(select(Book.title).order_by(Book.id)))] == ["ONE", "TWO"]
        await session.delete(books[1])
        await session.commit()
        assert await session.scalar(select(func.count()).select_from(Book)) == 1


async def test_streamed_rows_arrive_in_order(database: PooledDatabase) -> None:
    async with shop(database) as session:
        session.add_all([Author(name=f"{number:03}") for number in range(250)])
        await session.commit()
        rows = await session.stream_scalars(select(Author.name).order_by(Author.name))
        assert [row async for row in rows] == [*(f"{number:03}" for number in range(250)), "anna"]
        await session.commit()
        assert all_released(database)


async def test_the_class_of_sessions_is_checked() -> None:
    assert load_session_class("sqlalchemy.ext.asyncio:AsyncSession") is AsyncSession
    with pytest.raises(StartError, match="session_class: cannot import 'no_such_module'"):
        load_session_class("no_such_module:AsyncSession")
    with pytest.raises(StartError, match=r"orm:Session. is no subclass"):
        load_session_class("sqlalchemy.orm:Session")
