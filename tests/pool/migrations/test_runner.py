from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from scalekit_pool.migrations.files import MigrationError, read_migrations
from scalekit_pool.migrations.runner import migrate
from tests.pool.migrations import harness as worker_program
from tests.pool.migrations.harness import ADA, USERS, MigratedDatabase

pytestmark = pytest.mark.anyio


async def test_files_are_applied_by_number_each_once(any_target: MigratedDatabase) -> None:
    any_target.write("0010_add_grace.sql", "INSERT INTO users VALUES (2, 'Grace');")
    any_target.write("2_add_ada.sql", ADA)
    any_target.write("0001_create_users.sql", USERS)
    names = ["0001_create_users", "2_add_ada", "0010_add_grace"]
    assert await any_target.pending() == names
    assert not await any_target.has("scalekit_migrations")
    assert await any_target.migrate() == names
    assert await any_target.recorded() == names
    assert await any_target.migrate() == []
    assert await any_target.pending() == []
    any_target.write("0011_rename.sql", "UPDATE users SET name = 'Augusta' WHERE id = 1")
    assert await any_target.pending() == ["0011_rename"]
    assert await any_target.migrate() == ["0011_rename"]
    assert await any_target.rows("SELECT name FROM users ORDER BY id") == [("Augusta",), ("Grace",)]
    [(moment,)] = await any_target.rows("SELECT count(applied_at) FROM scalekit_migrations")
    assert moment == 4


async def test_a_file_of_another_dialect_is_ignored(any_target: MigratedDatabase) -> None:
    other = "sqlite" if any_target.dialect == "postgresql" else "postgresql"
    any_target.write(f"0001_create_users.{any_target.dialect}.sql", USERS)
    any_target.write(f"0001_create_users.{other}.sql", "not a statement")
    any_target.write(f"0002_extend.{other}.sql", "not a statement")
    any_target.write("0003_add_ada.sql", ADA)
    assert await any_target.migrate() == ["0001_create_users", "0003_add_ada"]


async def test_a_failing_statement_rolls_back_its_file_only(target: MigratedDatabase) -> None:
    target.write("0001_create_users.sql", USERS)
    path = target.write(
        "0002_add.sql", f"CREATE TABLE more (id INTEGER);\n\n{ADA}-- and\nINSERT INTO absent VALUES (1);"
    )
    target.write("0003_never.sql", ADA)
    with pytest.raises(MigrationError) as caught:
        await target.migrate()
    problem = {"sqlite": "no such table: absent", "postgresql": 'relation "absent" does not exist'}[target.dialect]
    assert str(caught.value) == (f"{path}:5: {problem}; nothing of this file was applied: fix it and migrate again")
    assert await target.recorded() == ["0001_create_users"]
    assert not await target.has("more")
    assert await target.rows("SELECT * FROM users") == []
    target.write("0002_add.sql", "CREATE TABLE more (id INTEGER);")
    assert await target.migrate() == ["0002_add", "0003_never"]


async def test_an_error_at_execution_is_shown_without_row_values(target: MigratedDatabase) -> None:
    path = target.write("0001_create_users.sql", USERS + ADA + "INSERT INTO users\nVALUES (1, 'secret');")
    with pytest.raises(MigrationError) as caught:
        await target.migrate()
    assert str(caught.value).startswith(str(path))
    assert "(1)" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "nique" in str(caught.value).lower()
    assert not await target.has("users")
    assert not await target.has("scalekit_migrations")


async def test_the_connection_can_be_used_after_an_error(target: MigratedDatabase) -> None:
    target.write("0001_create_users.sql", USERS + "nonsense;\n\n" + ADA)
    async with target.session() as session:
        with pytest.raises(MigrationError, match=r"0001_create_users.sql:2: .*nonsense"):
            await migrate(session, target.directory)
        target.write("0001_create_users.sql", USERS)
        assert await migrate(session, target.directory) == ["0001_create_users"]


async def test_a_violated_deferred_key_rolls_back_the_file(target: MigratedDatabase) -> None:
    target.write("0001_create_users.sql", USERS)
    deferred = "REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED"
    path = target.write(
        "0002_posts.sql", f"CREATE TABLE posts (author INTEGER {deferred}); INSERT INTO posts VALUES (7);"
    )
    with pytest.raises(MigrationError, match=rf"{path}: .*posts.*nothing of this file was applied"):
        await target.migrate()
    assert await target.recorded() == ["0001_create_users"]
    assert not await target.has("posts")


async def test_processes_that_start_together_apply_each_file_once(target: MigratedDatabase) -> None:
    target.write("0001_create_users.sql", USERS)
    names = ["0001_create_users"]
    for number in range(2, 12):
        # Applying a file twice would fail, or change the sum.
        target.write(
            f"{number:04}_add.sql", f"INSERT INTO users VALUES ({number}, 'x'); UPDATE users SET name = name || 'y'"
        )
        names.append(f"{number:04}_add")

    async def worker() -> list[str]:
        command = [sys.executable, worker_program.__file__, target.dialect, target.address, str(target.directory)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    applied = await asyncio.gather(*(worker() for _ in range(4)))
    assert sorted(name for each in applied for name in each) == names
    assert await target.recorded() == names
    assert await target.rows("SELECT name FROM users WHERE id = 2") == [("x" + "y" * 10,)]


async def test_tasks_that_start_together_apply_each_file_once(any_target: MigratedDatabase) -> None:
    any_target.write("0001_create_users.sql", USERS)
    any_target.write("0002_add_ada.sql", ADA)
    applied = await asyncio.gather(*(any_target.migrate() for _ in range(5)))
    assert sorted(name for each in applied for name in each) == ["0001_create_users", "0002_add_ada"]


@asynccontextmanager
async def migration_lock(target: MigratedDatabase) -> AsyncGenerator[Any, None]:
    """Hold the migration lock, as another worker does."""
    async with target.session() as other, other.locked():
        yield other


async def test_migrations_applied_by_another_worker_are_seen_under_the_lock(any_target: MigratedDatabase) -> None:
    any_target.write("0001_create_users.sql", USERS)
    await any_target.migrate()
    any_target.write("0002_add_ada.sql", ADA)
    second = read_migrations(any_target.directory, any_target.dialect)[1]
    async with any_target.session() as session:
        locking = asyncio.Event()
        waiting = session.locked

        def locked() -> AbstractAsyncContextManager[None]:
            locking.set()
            return waiting()

        session.locked = locked  # type: ignore[method-assign]
        async with migration_lock(any_target) as other:
            late = asyncio.create_task(migrate(session, any_target.directory))
            await locking.wait()
            record = "INSERT INTO scalekit_migrations (number, name, checksum) VALUES (?, ?, ?)"
            await other.execute(record, second.number, second.name, second.checksum)
        assert await late == []


async def test_the_wait_for_another_worker_ends(any_target: MigratedDatabase) -> None:
    any_target.write("0001_create_users.sql", USERS)
    async with migration_lock(any_target):
        with pytest.raises(MigrationError, match=r"another worker has held the migration lock for 1 s: migrate again"):
            await any_target.migrate(limit=1.0)
    assert await any_target.migrate() == ["0001_create_users"]


async def test_a_changed_file_is_refused_and_nothing_else_applied(any_target: MigratedDatabase) -> None:
    path = any_target.write("0001_create_users.sql", USERS)
    await any_target.migrate()
    any_target.write("0002_add_ada.sql", ADA)
    path.write_text(USERS + "-- more")
    message = f"{path}: changed after it was applied: restore it, and put the change into a new file"
    with pytest.raises(MigrationError) as caught:
        await any_target.migrate()
    assert str(caught.value) == message
    with pytest.raises(MigrationError, match="changed after it was applied"):
        await any_target.pending()
    assert await any_target.recorded() == ["0001_create_users"]
    path.write_bytes(b"\xef\xbb\xbf" + USERS.replace("\n", "\r\n").encode())
    assert await any_target.migrate() == ["0002_add_ada"]


async def test_files_that_contradict_what_was_applied_are_refused(any_target: MigratedDatabase) -> None:
    for name in ("0002_create_users.sql", "0005_nothing.sql", "0006_nothing.sql"):
        any_target.write(name, USERS if "users" in name else "SELECT 1;")
    await any_target.migrate()
    early = any_target.write("0003_early.sql", ADA)
    with pytest.raises(MigrationError) as late:
        await any_target.migrate()
    assert str(late.value) == (
        f"{early}: not applied, but the later 0006_nothing was: rename it to the next number, like 0007"
    )
    early.unlink()
    renamed = (any_target.directory / "0005_nothing.sql").rename(any_target.directory / "0005_other.sql")
    with pytest.raises(MigrationError, match=f"{renamed}: number 5 was applied as 0005_nothing: restore that name"):
        await any_target.migrate()
    renamed.unlink()
    with pytest.raises(
        MigrationError, match=f"{any_target.directory}: 0005_nothing was applied and is missing: restore it"
    ):
        await any_target.migrate()


async def test_a_database_migrated_by_a_newer_release_is_accepted(any_target: MigratedDatabase) -> None:
    any_target.write("0001_create_users.sql", USERS)
    newer = any_target.write("0002_add_ada.sql", ADA)
    await any_target.migrate()
    newer.unlink()
    assert await any_target.migrate() == []
