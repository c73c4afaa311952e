"""The tables of plugins are created once, and again when their creation was rolled back."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalekit.contracts import DatabaseSchema, TableDefinition
from scalekit.errors import StartError
from tests.pool.harness import opened
from tests.servers import Postgres

pytestmark = pytest.mark.anyio

COUNTERS = TableDefinition(("counters",), ("CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY)",))
INSERT = "INSERT INTO counters VALUES (:name)"


async def test_tables_whose_creation_was_rolled_back_are_created_again(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/test.db") as database:
        schema = DatabaseSchema("test", database, COUNTERS)
        async with database.outer_transaction():
            for name in ("a", "b"):
                await schema.create()
                await database.execute(INSERT, {"name": name})
        async with database.outer_transaction() as outer:
            await schema.create()
            await database.execute(INSERT, {"name": "c"})
            await outer.commit()
        assert [row.name for row in await database.fetch_all("SELECT name FROM counters")] == ["c"]


@pytest.mark.needs("postgres")
async def test_a_role_that_may_not_create_tables_is_refused_until_they_exist() -> None:
    with Postgres() as server:
        server.sql("CREATE ROLE app LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        async with opened(server.url.replace("postgres@", "app@")) as database:
            schema = DatabaseSchema("test", database, COUNTERS)
            with pytest.raises(StartError, match=r"tables of test, .*permission denied .* and DELETE on counters"):
                await schema.create_at_start()
            server.sql("CREATE TABLE counters (name TEXT PRIMARY KEY); GRANT INSERT ON counters TO app")
            await schema.create_at_start()
            await database.execute(INSERT, {"name": "a"})


async def test_tables_that_were_created_are_not_looked_for_again(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path}/test.db") as database:
        schema = DatabaseSchema("test", database, COUNTERS)
        await schema.create()
        await database.execute("DROP TABLE counters")
        await schema.create()
        with pytest.raises(Exception, match="no such table"):
            await database.execute(INSERT, {"name": "a"})
