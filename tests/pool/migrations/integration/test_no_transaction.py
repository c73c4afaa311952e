"""Files that begin with ``-- no-transaction``, for statements such as ``CREATE INDEX CONCURRENTLY``."""

from __future__ import annotations

import asyncio

import pytest

from scalekit_pool.migrations.files import MigrationError, read_migrations
from scalekit_pool.migrations.sql_script import is_outside_transaction
from tests.pool.migrations.harness import ADA, USERS, MigratedDatabase

pytestmark = pytest.mark.anyio
postgres_only = pytest.mark.parametrize(
    "target", [pytest.param("postgresql", marks=pytest.mark.needs("postgres"))], indirect=True
)

INDEX = "-- no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY by_name ON users (name);\n"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_name'::regclass"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (INDEX, True),
        ("\n-- an index\n  --no-transaction  \nSELECT 1", True),
        ("-- no-transaction", True),
        ("SELECT 1;\n-- no-transaction\n", False),
        ("-- no-transaction is not wanted\nSELECT 1", False),
        ("/*\n-- no-transaction\n*/ SELECT 1", False),
    ],
)
def test_the_comment_stands_alone_before_the_statement(text: str, expected: bool) -> None:
    assert is_outside_transaction(text) is expected


def test_a_file_outside_a_transaction_has_one_statement_of_postgresql(target: MigratedDatabase) -> None:
    path = target.write("0001_two.sql", "-- no-transaction\nSELECT ';';\n-- more\nSELECT 2;\n")
    problem = {
        "sqlite": f"{path}:1: remove -- no-transaction: on SQLite each file runs in a transaction",
        "postgresql": f"{path}:4: move this statement to a file of its own: with -- no-transaction a file has one",
    }[target.dialect]
    with pytest.raises(MigrationError) as caught:
        read_migrations(target.directory, target.dialect)
    assert str(caught.value) == problem


@postgres_only
async def test_an_index_is_built_concurrently_once_by_several_workers(target: MigratedDatabase) -> None:
    target.write("0001_create_users.sql", USERS)
    target.write("0002_index.sql", INDEX)
    target.write("0003_add_ada.sql", ADA)
    applied = await asyncio.gather(*(target.migrate() for _ in range(4)))
    names = ["0001_create_users", "0002_index", "0003_add_ada"]
    assert sorted(name for each in applied for name in each) == names
    assert await target.recorded() == names
    assert await target.rows(VALID) == [(True,)]
    assert await target.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


@postgres_only
async def test_a_worker_that_waits_for_the_lock_does_not_block_the_build(target: MigratedDatabase) -> None:
    target.write("0001_create_users.sql", USERS)
    await target.migrate()
    async with target.session() as holder, target.session() as other:

        async def wait_for_lock() -> None:
            async with other.locked():
                pass

        async with holder.locked_session():  # type: ignore[attr-defined] # of PostgreSQL
            waiting = asyncio.create_task(wait_for_lock())
            tried = "SELECT 1 FROM pg_stat_activity WHERE query = 'ROLLBACK'"
            while not await target.rows(tried):
                pass
            await holder.execute_alone(INDEX)  # type: ignore[attr-defined] # of PostgreSQL
            assert not waiting.done()
        await waiting
    assert await target.rows(VALID) == [(True,)]


@postgres_only
async def test_a_build_that_fails_names_the_invalid_index_and_the_remedy(target: MigratedDatabase) -> None:
    target.write("0001_create_users.sql", f"{USERS}{ADA}INSERT INTO users VALUES (2, 'Ada');")
    path = target.write("0002_index.sql", INDEX)
    drop = "run DROP INDEX CONCURRENTLY by_name, and migrate again"
    with pytest.raises(MigrationError) as caught:
        await target.migrate()
    assert str(caught.value) == f'{path}: could not create unique index "by_name"; it left an invalid index: {drop}'
    assert await target.rows(VALID) == [(False,)]
    assert await target.recorded() == ["0001_create_users"]
    path.write_text(INDEX.replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS"))  # which would skip the invalid one
    with pytest.raises(MigrationError) as caught:
        await target.migrate()
    assert str(caught.value) == f"{path}: the index by_name is invalid: {drop}"
    async with target.session() as session:
        await session.execute("DELETE FROM users WHERE id = 2")
        await session.execute("DROP INDEX CONCURRENTLY by_name")
    assert await target.migrate() == ["0002_index"]
    assert await target.rows(VALID) == [(True,)]


@postgres_only
async def test_other_errors_name_the_line(target: MigratedDatabase) -> None:
    path = target.write("0001_index.sql", INDEX)
    with pytest.raises(MigrationError) as caught:
        await target.migrate()
    assert str(caught.value) == f'{path}: relation "users" does not exist; fix it, and migrate again'
    path.write_text("-- no-transaction\nCREATE INDEX CONCURRENTLY nonsense\n")
    with pytest.raises(MigrationError, match=rf"{path}:3: syntax error at end of input; fix it, and migrate again"):
        await target.migrate()


@postgres_only
async def test_a_statement_that_needs_it_says_so_in_a_transaction(target: MigratedDatabase) -> None:
    target.write("0001_index.sql", INDEX.partition("\n")[2])
    with pytest.raises(MigrationError, match="move the statement to a file that begins with -- no-transaction"):
        await target.migrate()
