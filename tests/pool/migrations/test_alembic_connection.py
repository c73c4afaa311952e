from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import DEVNULL, PIPE
from os import listdir
from pathlib import Path

import aiosqlite
import pytest

from scalekit_pool.migrations.alembic_connection import LOCK_FILE_SUFFIX, alembic_connection
from scalekit_pool.migrations.files import MigrationError
from tests.pool.migrations.alembic_project import ADA, LIMIT, USERS, AlembicProject
from tests.pool.migrations.harness import ENDLESS, SLOW, MigratedDatabase, connected

pytestmark = pytest.mark.anyio


@pytest.fixture
def project(target: MigratedDatabase) -> AlembicProject:
    return AlembicProject(target)


@pytest.mark.process
async def test_processes_that_start_together_apply_each_revision_once(project: AlembicProject) -> None:
    project.revision("r1", f"op.execute({SLOW[project.target.dialect]!r}); {USERS}")  # so that they overlap
    for number in range(2, 6):
        # Applying a revision twice would fail, or change the sum.
        project.revision(f"r{number}", f"op.execute(\"INSERT INTO users VALUES ({number}, '')\")")

    async def ready() -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(*project.process, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    async def upgraded(process: asyncio.subprocess.Process) -> tuple[list[str], str]:
        output, errors = await process.communicate(b"\n")
        return output.decode().split(), errors.decode() if process.returncode else ""

    async with asyncio.timeout(60):
        processes = await asyncio.gather(ready(), ready())
        done = await asyncio.gather(*map(upgraded, processes))
    assert [errors for _, errors in done] == ["", ""]
    assert sorted(name for applied, _ in done for name in applied) == [f"r{number}" for number in range(1, 6)]
    assert await project.target.rows("SELECT count(*) FROM users") == [(4,)]


async def test_the_wait_for_another_worker_ends(project: AlembicProject) -> None:
    project.revision("r1", USERS)
    target = project.target
    async with (
        connected(target.dialect, target.address) as raw,
        alembic_connection(target.dialect, raw, LIMIT, exclusive=True),
    ):
        with pytest.raises(MigrationError, match=r"another worker has held the migration lock for 0\.5 s: migrate ag"):
            await project.upgrade(limit=0.5)
        assert (await project.read()).pending == ["r1"]  # needs no lock
    assert await project.upgrade() == ["r1"]


async def test_a_killed_migration_releases_the_lock_and_leaves_nothing(project: AlembicProject) -> None:
    project.revision("r1", f"{USERS}; {ADA}; op.execute({ENDLESS[project.target.dialect]!r})")
    process = await asyncio.create_subprocess_exec(*project.process, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    await project.until_it_migrates()
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert not await project.target.has("users")
    project.last = None
    project.revision("r1", USERS)
    assert await project.upgrade() == ["r1"]


async def test_a_statement_beyond_the_limit_is_cancelled(project: AlembicProject) -> None:
    project.revision("r1", f"{USERS}; op.execute({ENDLESS[project.target.dialect]!r})")
    with pytest.raises(MigrationError, match=r"/versions/r1\.py:8: (interrupted|canceling statement due to)"):
        await project.upgrade(limit=1.0)
    assert not await project.target.has("users")


async def test_rows_that_refer_to_a_rebuilt_table_of_sqlite_are_kept(project: AlembicProject) -> None:
    if project.target.dialect != "sqlite":
        return
    posts = "CREATE TABLE posts (author REFERENCES users (id) ON DELETE CASCADE)"
    project.revision("r1", f'{USERS}; {ADA}; op.execute("{posts}"); op.execute("INSERT INTO posts VALUES (1)")')
    rebuild = (
        'with op.batch_alter_table("users", recreate="always") as batch: batch.add_column(sa.Column("age", sa.Integer))'
    )
    project.revision("r2", rebuild)
    assert await project.upgrade() == ["r1", "r2"]
    assert await project.target.rows("SELECT * FROM posts") == [(1,)]
    project.revision("r3", 'op.execute("DELETE FROM users")')
    with pytest.raises(MigrationError, match="rows of posts refer to missing rows of users"):
        await project.upgrade()
    assert await project.target.rows("SELECT id FROM users") == [(1,)]
    assert f"test.db{LOCK_FILE_SUFFIX}" in listdir(project.folder)


async def test_statements_outside_of_transactions_do_not_wait_for_workers_that_wait(project: AlembicProject) -> None:
    project.revision("r1", USERS)
    index = 'op.create_index("by_name", "users", ["name"], postgresql_concurrently=True)'
    project.revision("r2", f"with op.get_context().autocommit_block(): {index}")
    applied = await asyncio.gather(project.upgrade(), project.upgrade(), project.upgrade())
    assert sorted(name for each in applied for name in each) == ["r1", "r2"]


async def test_a_connection_that_sqlalchemy_has_closed_hides_no_error(tmp_path: Path) -> None:
    raw_connection = await aiosqlite.connect(tmp_path / "data.db")

    async def migrate() -> None:
        async with alembic_connection("sqlite", raw_connection, LIMIT, exclusive=True):
            await raw_connection.close()  # as SQLAlchemy does when its first statement is cancelled
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await migrate()
