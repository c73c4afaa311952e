from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from scalekit_pool.migrations.backends import STATEMENT_TIMEOUT, migration_backend
from scalekit_pool.migrations.files import MigrationError, read_migrations
from scalekit_pool.migrations.runner import MigrationBackend, migrate, pending
from tests import command_line
from tests.pool.migrations import harness as worker_program
from tests.pool.migrations.harness import connected, open_session
from tests.servers import Postgres
from tests.service import APPLICATION

pytestmark = pytest.mark.anyio

NUMBERS = count(1)
USERS = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\n"
ADA = "INSERT INTO users VALUES (1, 'Ada');\n"


@dataclass
class Place:
    """A database of one test, and its directory of migrations."""

    dialect: str
    address: str
    directory: Path

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.directory / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def session(self, limit: float = STATEMENT_TIMEOUT) -> AbstractAsyncContextManager[MigrationBackend]:
        return open_session(self.dialect, self.address, limit)

    async def migrate(self, limit: float = STATEMENT_TIMEOUT) -> list[str]:
        async with self.session(limit) as session:
            return await migrate(session, self.directory)

    async def pending(self) -> list[str]:
        async with self.session() as session:
            return await pending(session, self.directory)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async with self.session() as session:
            return [tuple(row) for row in await session.fetch_all(query)]

    async def has(self, table: str) -> bool:
        async with self.session() as session:
            return await session.has_table(table)

    async def until_it_runs(self) -> None:
        """Wait until PostgreSQL runs what does not end: a cancel that comes before it does is lost."""
        active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE "
        while self.dialect == "postgresql" and not await self.rows(f"{active} '%pg_sleep%'"):
            pass

    async def recorded(self) -> list[str]:
        return [name for (name,) in await self.rows("SELECT name FROM scalekit_migrations ORDER BY number")]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    directory = tmp_path / "migrations"
    directory.mkdir()
    if request.param == "sqlite":
        return Place("sqlite", str(tmp_path / "test.db"), directory)
    server: Postgres = request.getfixturevalue("postgres")
    name = f"migrations_{next(NUMBERS)}"
    server.sql(f"CREATE DATABASE {name}")
    return Place("postgresql", server.url.removesuffix("postgres") + name, directory)


async def test_files_are_applied_by_number_each_once(place: Place) -> None:
    place.write("0010_add_grace.sql", "INSERT INTO users VALUES (2, 'Grace');")
    place.write("2_add_ada.sql", ADA)
    place.write("0001_create_users.sql", USERS)
    names = ["0001_create_users", "2_add_ada", "0010_add_grace"]
    assert await place.pending() == names
    assert not await place.has("scalekit_migrations")
    assert await place.migrate() == names
    assert await place.recorded() == names
    assert await place.migrate() == []
    assert await place.pending() == []
    place.write("0011_rename.sql", "UPDATE users SET name = 'Augusta' WHERE id = 1")
    assert await place.pending() == ["0011_rename"]
    assert await place.migrate() == ["0011_rename"]
    assert await place.rows("SELECT name FROM users ORDER BY id") == [("Augusta",), ("Grace",)]
    [(moment,)] = await place.rows("SELECT count(applied_at) FROM scalekit_migrations")
    assert moment == 4


async def test_a_file_for_one_dialect_is_for_no_other(place: Place) -> None:
    other = "sqlite" if place.dialect == "postgresql" else "postgresql"
    place.write(f"0001_create_users.{place.dialect}.sql", USERS)
    place.write(f"0001_create_users.{other}.sql", "not a statement")
    place.write(f"0002_extend.{other}.sql", "not a statement")
    place.write("0003_add_ada.sql", ADA)
    assert await place.migrate() == ["0001_create_users", "0003_add_ada"]


async def test_a_failing_statement_undoes_its_file_and_leaves_the_earlier_ones(place: Place) -> None:
    place.write("0001_create_users.sql", USERS)
    path = place.write(
        "0002_add.sql", f"CREATE TABLE more (id INTEGER);\n\n{ADA}-- and\nINSERT INTO absent VALUES (1);"
    )
    place.write("0003_never.sql", ADA)
    with pytest.raises(MigrationError) as caught:
        await place.migrate()
    said = {"sqlite": "no such table: absent", "postgresql": 'relation "absent" does not exist'}[place.dialect]
    assert str(caught.value) == (f"{path}:5: {said}; nothing of this file was applied: fix it and migrate again")
    assert await place.recorded() == ["0001_create_users"]
    assert not await place.has("more")
    assert await place.rows("SELECT * FROM users") == []
    place.write("0002_add.sql", "CREATE TABLE more (id INTEGER);")
    assert await place.migrate() == ["0002_add", "0003_never"]


async def test_an_error_at_execution_is_shown_without_row_values(place: Place) -> None:
    path = place.write("0001_create_users.sql", USERS + ADA + "INSERT INTO users\nVALUES (1, 'secret');")
    with pytest.raises(MigrationError) as caught:
        await place.migrate()
    assert str(caught.value).startswith(str(path))
    assert "(1)" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "nique" in str(caught.value).lower()
    assert not await place.has("users")
    assert not await place.has("scalekit_migrations")


async def test_the_connection_can_be_used_after_an_error(place: Place) -> None:
    place.write("0001_create_users.sql", USERS + "nonsense;\n\n" + ADA)
    async with place.session() as session:
        with pytest.raises(MigrationError, match=r"0001_create_users.sql:2: .*nonsense"):
            await migrate(session, place.directory)
        place.write("0001_create_users.sql", USERS)
        assert await migrate(session, place.directory) == ["0001_create_users"]


async def test_a_key_that_is_checked_at_the_end_undoes_the_file_too(place: Place) -> None:
    place.write("0001_create_users.sql", USERS)
    deferred = "REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED"
    path = place.write(
        "0002_posts.sql", f"CREATE TABLE posts (author INTEGER {deferred}); INSERT INTO posts VALUES (7);"
    )
    with pytest.raises(MigrationError, match=rf"{path}: .*posts.*nothing of this file was applied"):
        await place.migrate()
    assert await place.recorded() == ["0001_create_users"]
    assert not await place.has("posts")


async def test_processes_that_start_together_apply_each_file_once(place: Place) -> None:
    place.write("0001_create_users.sql", USERS)
    names = ["0001_create_users"]
    for number in range(2, 12):
        # Twice would be an error here and seen in the sum.
        place.write(
            f"{number:04}_add.sql", f"INSERT INTO users VALUES ({number}, 'x'); UPDATE users SET name = name || 'y'"
        )
        names.append(f"{number:04}_add")

    async def worker() -> list[str]:
        command = [sys.executable, worker_program.__file__, place.dialect, place.address, str(place.directory)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    applied = await asyncio.gather(*(worker() for _ in range(4)))
    assert sorted(name for each in applied for name in each) == names
    assert await place.recorded() == names
    assert await place.rows("SELECT name FROM users WHERE id = 2") == [("x" + "y" * 10,)]


async def test_tasks_that_start_together_apply_each_file_once(place: Place) -> None:
    place.write("0001_create_users.sql", USERS)
    place.write("0002_add_ada.sql", ADA)
    applied = await asyncio.gather(*(place.migrate() for _ in range(5)))
    assert sorted(name for each in applied for name in each) == ["0001_create_users", "0002_add_ada"]


@asynccontextmanager
async def held(place: Place) -> AsyncGenerator[Any, None]:
    """Hold the lock as another worker would."""
    async with place.session() as other, other.locked():
        yield other


async def test_migrations_applied_by_another_worker_are_seen_under_the_lock(place: Place) -> None:
    place.write("0001_create_users.sql", USERS)
    await place.migrate()
    place.write("0002_add_ada.sql", ADA)
    second = read_migrations(place.directory, place.dialect)[1]
    async with place.session() as session:
        locking = asyncio.Event()
        waiting = session.locked

        def locked() -> AbstractAsyncContextManager[None]:
            locking.set()
            return waiting()

        session.locked = locked  # type: ignore[method-assign]
        async with held(place) as other:
            late = asyncio.create_task(migrate(session, place.directory))
            await locking.wait()
            record = "INSERT INTO scalekit_migrations (number, name, checksum) VALUES (?, ?, ?)"
            await other.execute(record, second.number, second.name, second.checksum)
        assert await late == []


async def test_the_wait_for_another_worker_ends(place: Place) -> None:
    place.write("0001_create_users.sql", USERS)
    async with held(place):
        with pytest.raises(MigrationError, match=r"another worker has held the migration lock for 1 s: migrate again"):
            await place.migrate(limit=1.0)
    assert await place.migrate() == ["0001_create_users"]


ENDLESS = {
    "sqlite": "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c;",
    "postgresql": "SELECT pg_sleep(600);",
}


SLOW = {
    "sqlite": ENDLESS["sqlite"].replace("FROM c)", "FROM c WHERE n < 2000000)"),
    "postgresql": "SELECT pg_sleep(0.6);",
}


async def test_a_statement_that_takes_too_long_is_ended(place: Place) -> None:
    path = place.write("0001_endless.sql", USERS + ENDLESS[place.dialect])
    async with place.session(limit=1.0) as session:
        with pytest.raises(MigrationError, match=rf"{path}.*: not finished within 1 s; nothing of this file"):
            await migrate(session, place.directory)
        assert not await session.has_table("users")
        place.write("0001_endless.sql", USERS)
        assert await migrate(session, place.directory) == ["0001_endless"]


async def test_a_migration_may_take_longer_than_other_statements_of_its_connection(place: Place) -> None:
    place.write("0001_slow.sql", SLOW[place.dialect])
    assert await place.migrate() == ["0001_slow"]


async def test_a_cancelled_migration_leaves_nothing_and_a_usable_connection(place: Place) -> None:
    place.write("0001_endless.sql", USERS + ENDLESS[place.dialect])
    async with place.session() as session:
        running = asyncio.Event()
        run = session.execute_script

        async def execute_script(text: str) -> None:
            running.set()
            await run(text)

        session.execute_script = execute_script  # type: ignore[method-assign]
        task = asyncio.create_task(migrate(session, place.directory))
        await running.wait()
        await place.until_it_runs()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not await session.has_table("users")
        place.write("0001_endless.sql", USERS)
        assert await migrate(session, place.directory) == ["0001_endless"]


async def test_a_changed_file_is_refused_and_nothing_else_applied(place: Place) -> None:
    path = place.write("0001_create_users.sql", USERS)
    await place.migrate()
    place.write("0002_add_ada.sql", ADA)
    path.write_text(USERS + "-- more")
    message = f"{path}: changed after it was applied: restore it, and put the change into a new file"
    with pytest.raises(MigrationError) as caught:
        await place.migrate()
    assert str(caught.value) == message
    with pytest.raises(MigrationError, match="changed after it was applied"):
        await place.pending()
    assert await place.recorded() == ["0001_create_users"]
    path.write_bytes(b"\xef\xbb\xbf" + USERS.replace("\n", "\r\n").encode())
    assert await place.migrate() == ["0002_add_ada"]


async def test_files_that_contradict_what_was_applied_are_refused(place: Place) -> None:
    for name in ("0002_create_users.sql", "0005_nothing.sql", "0006_nothing.sql"):
        place.write(name, USERS if "users" in name else "SELECT 1;")
    await place.migrate()
    early = place.write("0003_early.sql", ADA)
    with pytest.raises(MigrationError) as late:
        await place.migrate()
    assert str(late.value) == (
        f"{early}: not applied, but the later 0006_nothing was: give it the next number, like 0007"
    )
    early.unlink()
    renamed = (place.directory / "0005_nothing.sql").rename(place.directory / "0005_other.sql")
    with pytest.raises(MigrationError, match=f"{renamed}: number 5 was applied as 0005_nothing: restore that name"):
        await place.migrate()
    renamed.unlink()
    with pytest.raises(MigrationError, match=f"{place.directory}: 0005_nothing was applied and is missing: restore it"):
        await place.migrate()


async def test_a_database_migrated_by_a_newer_release_is_accepted(place: Place) -> None:
    place.write("0001_create_users.sql", USERS)
    newer = place.write("0002_add_ada.sql", ADA)
    await place.migrate()
    newer.unlink()
    assert await place.migrate() == []


async def test_migrating_inside_a_transaction_is_refused(place: Place) -> None:
    place.write("0001_create_users.sql", USERS)
    async with connected(place.dialect, place.address) as raw:
        session = migration_backend(place.dialect, raw)
        await session.execute("BEGIN")
        with pytest.raises(MigrationError, match="a transaction is open on this connection"):
            await migrate(session, place.directory)


@pytest.fixture
def postgres_place(postgres: Postgres, tmp_path: Path) -> Place:
    name = f"migrations_{next(NUMBERS)}"
    postgres.sql(f"CREATE DATABASE {name}")
    return Place("postgresql", postgres.url.removesuffix("postgres") + name, tmp_path)


@pytest.mark.needs("postgres")
async def test_what_a_dump_sets_does_not_hold_for_the_next_file(postgres_place: Place) -> None:
    place = postgres_place
    postgres_role = "CREATE ROLE migrator; GRANT ALL ON SCHEMA public TO migrator; SET ROLE migrator;"
    place.write(
        "0001_dump.sql", "SELECT pg_catalog.set_config('search_path', '', false); CREATE TABLE public.users (id int);"
    )
    place.write("0002_role.sql", postgres_role)
    place.write("0003_add.sql", "INSERT INTO users VALUES (1);")
    assert await place.migrate() == ["0001_dump", "0002_role", "0003_add"]


@pytest.mark.needs("postgres")
async def test_a_worker_sees_what_another_has_done_whatever_isolation_is_the_default(postgres_place: Place) -> None:
    place = postgres_place
    database = place.address.rpartition("/")[2]
    async with place.session() as session:
        await session.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    place.write("0001_create_users.sql", USERS)
    place.write("0002_add_ada.sql", ADA)
    applied = await asyncio.gather(*(place.migrate() for _ in range(5)))
    assert sorted(name for each in applied for name in each) == ["0001_create_users", "0002_add_ada"]


@pytest.mark.needs("postgres")
async def test_hints_of_the_database_are_shown(postgres_place: Place) -> None:
    place = postgres_place
    function = "CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END; $$;\n"
    atomic = "CREATE FUNCTION two() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;\n"
    place.write("0001_functions.sql", function + atomic)
    assert await place.migrate() == ["0001_functions"]
    assert await place.rows("SELECT one() + two()") == [(3,)]
    place.write("0002_index.sql", "CREATE INDEX CONCURRENTLY i ON scalekit_migrations (name);")
    with pytest.raises(MigrationError, match=r"0002_index.sql: CREATE INDEX CONCURRENTLY cannot run inside"):
        await place.migrate()


@pytest.fixture
def sqlite_place(tmp_path: Path) -> Place:
    directory = tmp_path / "migrations"
    directory.mkdir()
    return Place("sqlite", str(tmp_path / "test.db"), directory)


async def test_triggers_of_sqlite_are_one_statement(sqlite_place: Place) -> None:
    place = sqlite_place
    trigger = """CREATE TRIGGER t AFTER INSERT ON users BEGIN -- ; here;
        UPDATE users SET name = CASE WHEN new.name = ';' THEN 'semicolon' ELSE 'other' END WHERE id = new.id;
        INSERT INTO log VALUES (new.id); END;
    """
    place.write("0001_users.sql", f"{USERS}CREATE TABLE log (id); {trigger} INSERT INTO users VALUES (1, ';')  -- end")
    assert await place.migrate() == ["0001_users"]
    assert await place.rows("SELECT users.name, log.id FROM users JOIN log ON users.id = log.id") == [("semicolon", 1)]


REBUILD = """CREATE TABLE changed (id INTEGER PRIMARY KEY, name TEXT, more TEXT);
INSERT INTO changed SELECT id, name, NULL FROM users{};
DROP TABLE users;
ALTER TABLE changed RENAME TO users;
"""


async def test_a_sqlite_table_can_be_rebuilt_without_losing_referring_rows(sqlite_place: Place) -> None:
    place = sqlite_place
    posts = "CREATE TABLE posts (author REFERENCES users (id) ON DELETE CASCADE); INSERT INTO posts VALUES (1);"
    place.write("0001_create.sql", USERS + ADA + posts)
    place.write("0002_rebuild.sql", REBUILD.format(""))
    async with place.session() as session:
        await migrate(session, place.directory)
        assert await session.fetch_all("SELECT * FROM posts") == [(1,)]
        assert await session.fetch_all("PRAGMA foreign_keys") == [(1,)]
        place.write("0003_wrong.sql", REBUILD.format(" WHERE id > 1"))
        message = r"0003_wrong.sql: rows of posts refer to missing rows of users; .* nothing of this"
        with pytest.raises(MigrationError, match=message):
            await migrate(session, place.directory)
        assert await session.fetch_all("SELECT id FROM users") == [(1,)]
        assert await session.fetch_all("PRAGMA foreign_keys") == [(1,)]


def scalekit(place: Place, *arguments: str, more: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of the pool in the folder of *place*, where the real plugin opens its database."""
    folder = place.directory.parent
    url = f"sqlite:///{place.address}" if place.dialect == "sqlite" else place.address
    pool = f'[plugins.pool]\nurl = "{url}"\nmigrations = "{place.directory}"\n{more}'
    (folder / "scalekit.toml").write_text(f'[app]\ntarget = "service:app"\n{pool}')
    (folder / "service.py").write_text(APPLICATION)
    return command_line.scalekit("pool", *arguments, folder=folder)


def test_the_command_applies_or_lists(place: Place) -> None:
    place.write("0001_create_users.sql", USERS)
    place.write("0002_add_ada.sql", ADA)
    runs = [scalekit(place, "migrate", *options) for options in (["--pending"], [], [], ["--pending"])]
    assert [run.returncode for run in runs] == [0, 0, 0, 0], runs
    assert [run.stdout for run in runs] == [
        "0001_create_users\n0002_add_ada\n",
        "applied 0001_create_users\napplied 0002_add_ada\n",
        "no pending migrations\n",
        "no pending migrations\n",
    ]


def test_the_command_fails_with_the_file_and_the_remedy(place: Place) -> None:
    path = place.write("0001_create_users.sql", "BEGIN;\n" + USERS)
    run = scalekit(place, "migrate")
    assert run.returncode == 1
    assert run.stderr == f"error: {path}:1: remove BEGIN: each file already runs in its own transaction\n"


def test_a_migration_may_take_longer_than_the_statements_of_the_pool(place: Place) -> None:
    place.write("0001_slow.sql", SLOW[place.dialect])
    run = scalekit(place, "migrate", more='statement_timeout = "300ms"\n')
    assert (run.returncode, run.stdout) == (0, "applied 0001_slow\n"), run.stderr
