"""Statements of sessions are prepared once for each connection, long ones too, within bounds."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, text

from scalekit_pool.database import PooledDatabase
from scalekit_pool.orm import prepared_statements
from tests.pool.conftest import POSTGRES
from tests.pool.harness import opened
from tests.pool.orm.shop import Author, shop

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("url", [POSTGRES], indirect=True)]

PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE :text"


async def prepared(database: PooledDatabase, like: str) -> Any:
    return await database.fetch_val(PREPARED, {"text": like})


async def test_a_statement_is_prepared_once_and_kept(url: str) -> None:
    async with opened(url, max_size=1) as database, shop(database) as session:
        for _ in range(2):
            session.add_all([Author(name=f"name {number}") for number in range(900)])
            await session.flush()
            await session.rollback()
            assert await session.scalar(select(Author.name)) == "anna"
        assert await prepared(database, "SELECT authors.name%") == 1
        assert await prepared(database, "INSERT INTO authors%$900%") == 1


async def test_the_least_recently_used_statement_is_closed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(url, max_size=1) as database, shop(database) as session:
        monkeypatch.setattr(prepared_statements, "MAX_CHARACTERS", 100)
        for number in range(20):
            assert await session.scalar(text(f"SELECT {number} AS kept")) == number
        assert 1 <= await prepared(database, "SELECT%AS kept") <= 6


async def test_without_a_cache_no_statement_is_kept(url: str) -> None:
    async with opened(url, max_size=1, statement_cache_size=0) as database, shop(database) as session:
        for _ in range(2):
            assert await session.scalar(select(Author.name)) == "anna"
        assert await prepared(database, "%") == 0


async def test_a_changed_table_is_read_with_its_new_columns(url: str) -> None:
    async with opened(url, max_size=1) as database, shop(database) as session:
        everything = text("SELECT * FROM authors")
        assert len((await session.execute(everything)).one()) == 2
        await database.execute("ALTER TABLE authors ADD COLUMN age integer")
        assert len((await session.execute(everything)).one()) == 3
        await database.execute("ALTER TABLE authors ALTER COLUMN age TYPE text USING 'old'")
        assert (await session.execute(everything)).one().age == "old"
