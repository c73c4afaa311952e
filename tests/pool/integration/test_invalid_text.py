"""Texts that no database can receive fail alone: the transaction and its connection go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from scalekit_pool.database import PooledDatabase
from scalekit_pool.postgres.bulk_insert import COPY_THRESHOLD
from tests.pool.conftest import POSTGRES
from tests.pool.harness import all_released, wait_until_released

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)]

SURROGATE, NUL = "a\udc80b", "a\0b"
NOTES = sa.table("notes", sa.column("text", sa.Text))
INSERT = "INSERT INTO notes (text) VALUES (:text)"

Work = Callable[[Any, str], Awaitable[Any]]


async def exhaust(rows: Any) -> None:
    async for _ in rows:
        pass


TEXTS: list[Work] = [
    lambda database, bad: database.execute(f"INSERT INTO notes (text) VALUES ('{bad}')"),
    lambda database, bad: database.fetch_all(f"SELECT '{bad}'"),
    lambda database, bad: database.execute_many(f"UPDATE notes SET text = :text WHERE text = '{bad}'", [{"text": "a"}]),
    lambda database, bad: exhaust(database.iterate(f"SELECT '{bad}'")),
    lambda database, bad: database.fetch_all(sa.select(sa.literal_column(f"'{bad}'"))),
    lambda database, bad: database.fetch_all(sa.select(sa.literal(bad, literal_execute=True))),
    lambda database, bad: database.insert_many(f"notes{bad}", [{"text": "a"}]),
    lambda database, bad: database.insert_many("notes", [{f"text{bad}": "a"}] * (COPY_THRESHOLD + 1)),
]
VALUES: list[Work] = [
    lambda database, bad: database.execute(INSERT, {"text": bad}),
    lambda database, bad: database.execute_many(INSERT, [{"text": "a"}, {"text": bad}]),
    lambda database, bad: database.insert_many("notes", [{"text": "a"}, {"text": bad}]),
    lambda database, bad: database.insert_many("notes", [{"text": "a"}] * COPY_THRESHOLD + [{"text": bad}]),
    lambda database, bad: exhaust(database.iterate("SELECT * FROM notes WHERE text = :text", {"text": bad})),
    lambda database, bad: database.fetch_all(sa.select(NOTES).where(NOTES.c.text == bad)),
]
IN_SESSION: list[Callable[[AsyncSession, str], Awaitable[Any]]] = [
    lambda session, bad: session.execute(sa.text(f"INSERT INTO notes (text) VALUES ('{bad}')")),
    lambda session, bad: session.execute(sa.text(f"SELECT '{bad}'")),
    lambda session, bad: session.stream(sa.text(f"SELECT '{bad}'")),
    lambda session, bad: session.execute(sa.select(sa.literal(bad, literal_execute=True))),
]


async def prepared(database: PooledDatabase) -> PooledDatabase:
    await database.execute("CREATE TABLE notes (text TEXT)")
    await wait_until_released(database)
    return database


@pytest.mark.parametrize("bad", [SURROGATE, NUL])
async def test_a_text_that_cannot_be_sent_is_the_error_of_its_statement(database: PooledDatabase, bad: str) -> None:
    opened = (await prepared(database)).connections_opened
    async with database.transaction():
        for work in TEXTS:
            with pytest.raises(ValueError, match=r"has (NUL|a lone surrogate) at character \d+: remove it"):
                await work(database, bad)
            await database.execute(INSERT, {"text": "after"})
    for work in TEXTS:
        with pytest.raises(ValueError, match="remove it"):
            await work(database, bad)
        assert all_released(database)
    assert database.connections_opened == opened
    assert await database.fetch_val("SELECT count(*) FROM notes WHERE text = 'after'") == len(TEXTS)


@pytest.mark.parametrize("bad", [SURROGATE, NUL])
async def test_a_value_that_cannot_be_sent_is_the_error_of_its_statement(database: PooledDatabase, bad: str) -> None:
    await prepared(database)
    async with database.transaction():
        for work in VALUES:
            if database.dialect == "sqlite" and bad is NUL:  # texts of SQLite may have it
                await work(database, bad)
            else:
                with pytest.raises(Exception, match=r"surrogates|invalid byte sequence"):
                    async with database.transaction():
                        await work(database, bad)
            await database.execute(INSERT, {"text": "after"})
    assert await database.fetch_val("SELECT count(*) FROM notes WHERE text = 'after'") == len(VALUES)


@pytest.mark.parametrize("bad", [SURROGATE, NUL])
async def test_a_text_that_cannot_be_sent_leaves_a_session_as_it_was(database: PooledDatabase, bad: str) -> None:
    await prepared(database)
    async with database.sessions() as session:
        for work in IN_SESSION:
            await session.execute(NOTES.insert().values(text="before"))
            with pytest.raises(ValueError, match="remove it"):
                await work(session, bad)
        await session.commit()
        assert len((await session.scalars(sa.select(NOTES.c.text))).all()) == len(IN_SESSION)


async def test_a_value_that_cannot_be_sent_does_not_reset_the_connection_to_a_file(database: PooledDatabase) -> None:
    await prepared(database)
    with pytest.raises(Exception, match="surrogates"):
        await database.execute(INSERT, {"text": SURROGATE})
    assert all_released(database)
