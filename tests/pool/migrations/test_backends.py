from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scalekit_pool.migrations.backends import migration_backend
from scalekit_pool.migrations.files import Migration, MigrationError
from scalekit_pool.migrations.runner import migrate
from tests.pool.migrations.harness import ADA, ENDLESS, NUMBERS, SLOW, USERS, MigratedDatabase, connected
from tests.servers import Postgres

pytestmark = pytest.mark.anyio


async def test_a_statement_beyond_the_limit_is_cancelled(target: MigratedDatabase) -> None:
    path = target.write("0001_endless.sql", USERS + ENDLESS[target.dialect])
    async with target.session(limit=1.0) as session:
        with pytest.raises(MigrationError, match=rf"{path}.*: not finished within 1 s; nothing of this file"):
            await migrate(session, target.directory)
        assert not await session.has_table("users")
        target.write("0001_endless.sql", USERS)
        assert await migrate(session, target.directory) == ["0001_endless"]


async def test_a_migration_may_take_longer_than_other_statements_of_its_connection(target: MigratedDatabase) -> None:
    target.write("0001_slow.sql", SLOW[target.dialect])
    assert await target.migrate() == ["0001_slow"]


async def test_a_cancelled_migration_leaves_nothing_and_a_usable_connection(target: MigratedDatabase) -> None:
    target.write("0001_endless.sql", USERS + ENDLESS[target.dialect])
    async with target.session() as session:
        running = asyncio.Event()
        run = session.apply

        async def apply(migration: Migration) -> None:
            running.set()
            await run(migration)

        session.apply = apply  # type: ignore[method-assign]
        task = asyncio.create_task(migrate(session, target.directory))
        await running.wait()
        await target.until_it_runs()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not await session.has_table("users")
        target.write("0001_endless.sql", USERS)
        assert await migrate(session, target.directory) == ["0001_endless"]


async def test_migrating_inside_a_transaction_is_refused(target: MigratedDatabase) -> None:
    target.write("0001_create_users.sql", USERS)
    async with connected(target.dialect, target.address) as raw:
        session = migration_backend(target.dialect, raw)
        await session.execute("BEGIN")
        with pytest.raises(MigrationError, match="a transaction is open on this connection"):
            await migrate(session, target.directory)


@pytest.fixture
def postgres_target(postgres: Postgres, tmp_path: Path) -> MigratedDatabase:
    name = f"migrations_{next(NUMBERS)}"
    postgres.sql(f"CREATE DATABASE {name}")
    return MigratedDatabase("postgresql", postgres.url.removesuffix("postgres") + name, tmp_path)


@pytest.mark.needs("postgres")
async def test_settings_of_a_dump_do_not_affect_the_next_file(postgres_target: MigratedDatabase) -> None:
    target = postgres_target
    postgres_role = "CREATE ROLE migrator; GRANT ALL ON SCHEMA public TO migrator; SET ROLE migrator;"
    target.write(
        "0001_dump.sql", "SELECT pg_catalog.set_config('search_path', '', false); CREATE TABLE public.users (id int);"
    )
    target.write("0002_role.sql", postgres_role)
    target.write("0003_add.sql", "INSERT INTO users VALUES (1);")
    assert await target.migrate() == ["0001_dump", "0002_role", "0003_add"]


@pytest.mark.needs("postgres")
async def test_a_worker_sees_applied_files_at_any_default_isolation(postgres_target: MigratedDatabase) -> None:
    target = postgres_target
    database = target.address.rpartition("/")[2]
    async with target.session() as session:
        await session.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    target.write("0001_create_users.sql", USERS)
    target.write("0002_add_ada.sql", ADA)
    applied = await asyncio.gather(*(target.migrate() for _ in range(5)))
    assert sorted(name for each in applied for name in each) == ["0001_create_users", "0002_add_ada"]


@pytest.mark.needs("postgres")
async def test_hints_of_the_database_are_shown(postgres_target: MigratedDatabase) -> None:
    target = postgres_target
    function = "CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END; $$;\n"
    atomic = "CREATE FUNCTION two() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;\n"
    target.write("0001_functions.sql", function + atomic)
    assert await target.migrate() == ["0001_functions"]
    assert await target.rows("SELECT one() + two()") == [(3,)]
    target.write("0002_index.sql", "CREATE INDEX CONCURRENTLY i ON scalekit_migrations (name);")
    with pytest.raises(MigrationError, match=r"0002_index.sql: CREATE INDEX CONCURRENTLY cannot run inside"):
        await target.migrate()


@pytest.fixture
def sqlite_target(tmp_path: Path) -> MigratedDatabase:
    directory = tmp_path / "migrations"
    directory.mkdir()
    return MigratedDatabase("sqlite", str(tmp_path / "test.db"), directory)


async def test_triggers_of_sqlite_are_one_statement(sqlite_target: MigratedDatabase) -> None:
    target = sqlite_target
    trigger = """CREATE TRIGGER t AFTER INSERT ON users BEGIN -- ; here;
        UPDATE users SET name = CASE WHEN new.name = ';' THEN 'semicolon' ELSE 'other' END WHERE id = new.id;
        INSERT INTO log VALUES (new.id); END;
    """
    target.write("0001_users.sql", f"{USERS}CREATE TABLE log (id); {trigger} INSERT INTO users VALUES (1, ';')  -- end")
    assert await target.migrate() == ["0001_users"]
    assert await target.rows("SELECT users.name, log.id FROM users JOIN log ON users.id = log.id") == [("semicolon", 1)]


REBUILD = """CREATE TABLE changed (id INTEGER PRIMARY KEY, name TEXT, more TEXT);
INSERT INTO changed SELECT id, name, NULL FROM users{};
DROP TABLE users;
ALTER TABLE changed RENAME TO users;
"""


async def test_a_sqlite_table_can_be_rebuilt_without_losing_referring_rows(sqlite_target: MigratedDatabase) -> None:
    target = sqlite_target
    posts = "CREATE TABLE posts (author REFERENCES users (id) ON DELETE CASCADE); INSERT INTO posts VALUES (1);"
    target.write("0001_create.sql", USERS + ADA + posts)
    target.write("0002_rebuild.sql", REBUILD.format(""))
    async with target.session() as session:
        await migrate(session, target.directory)
        assert await session.fetch_all("SELECT * FROM posts") == [(1,)]
        assert await session.fetch_all("PRAGMA foreign_keys") == [(1,)]
        target.write("0003_wrong.sql", REBUILD.format(" WHERE id > 1"))
        message = r"0003_wrong.sql: rows of posts refer to missing rows of users; .* nothing of this"
        with pytest.raises(MigrationError, match=message):
            await migrate(session, target.directory)
        assert await session.fetch_all("SELECT id FROM users") == [(1,)]
        assert await session.fetch_all("PRAGMA foreign_keys") == [(1,)]
