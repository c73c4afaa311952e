from __future__ import annotations

from pathlib import Path

import pytest

from scalekit_pool.migrations.lint_report import lint_pending
from tests.pool.harness import opened
from tests.pool.migrations.alembic_project import USERS, AlembicProject
from tests.pool.migrations.harness import NUMBERS, MigratedDatabase
from tests.servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

TIMEOUT = "SET LOCAL lock_timeout = '2s';\n"
CREATE = "CREATE TABLE users (id bigint PRIMARY KEY, name text);\n"


@pytest.fixture
def postgres_target(postgres: Postgres, tmp_path: Path) -> MigratedDatabase:
    name = f"migrations_{next(NUMBERS)}"
    postgres.sql(f"CREATE DATABASE {name}")
    (tmp_path / "migrations").mkdir()
    return MigratedDatabase("postgresql", postgres.url.removesuffix("postgres") + name, tmp_path / "migrations")


async def warnings(address: str, migrations: str) -> list[str]:
    async with opened(address) as database:
        return [each.rpartition(": ALTER")[0] or each for each in await lint_pending(database, migrations)]


async def test_pending_files_are_linted(postgres_target: MigratedDatabase) -> None:
    target = postgres_target
    target.write("0001_create_users.sql", TIMEOUT + CREATE)
    await target.migrate()
    path = target.write("0002_drop.sql", "-- no longer used\nALTER TABLE users DROP COLUMN name;\n")
    places = [f"{path}:2: ban-drop-column", f"{path}:2: require-lock-timeout"]
    folder = str(target.directory)
    assert sorted(await warnings(target.address, folder)) == places
    async with target.session() as session:
        await session.execute(f"ALTER DATABASE {target.address.rpartition('/')[2]} SET lock_timeout = '5s'")
    assert await warnings(target.address, folder) == places[:1]
    await target.migrate()
    assert await warnings(target.address, folder) == []


async def test_a_file_outside_a_transaction_is_linted_as_such(postgres_target: MigratedDatabase) -> None:
    target = postgres_target
    target.write("0001_create_users.sql", CREATE)
    await target.migrate()
    target.write("0002_index.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY by_name ON users (name);\n")
    assert await warnings(target.address, str(target.directory)) == []
    target.write("0002_index.sql", f"{TIMEOUT}CREATE INDEX by_name ON users (name);\n")
    (warning,) = await warnings(target.address, str(target.directory))
    assert "require-concurrent-index-creation" in warning
    assert "CREATE INDEX CONCURRENTLY in a file of its own that begins with -- no-transaction" in warning


async def test_pending_revisions_of_alembic_are_linted(postgres_target: MigratedDatabase) -> None:
    target = postgres_target
    project = AlembicProject(target)
    project.revision("r1", USERS)
    await project.upgrade()
    project.revision("r2_drop", f'op.execute("{TIMEOUT.strip()}"); op.drop_column("users", "name")')
    index = 'op.create_index("i", "users", ["id"], postgresql_concurrently=True)'
    project.revision("r3_index", f"with op.get_context().autocommit_block(): {index}")
    assert await warnings(target.address, project.ini) == ["r2_drop: ban-drop-column"]
    project.revision("r4_read", 'op.get_bind().execute(sa.text("SELECT 1")).scalar()')
    (reason,) = await warnings(target.address, project.ini)
    assert reason.startswith(f"{project.ini}: not linted, since the revisions cannot become SQL: ")
    assert "r4_read.py:8: AttributeError" in reason


async def test_files_of_sqlite_are_not_linted(tmp_path: Path) -> None:
    (tmp_path / "0001_drop.sql").write_text("DROP TABLE IF EXISTS users;\n")
    assert await warnings(f"sqlite:///{tmp_path}/test.db", str(tmp_path)) == []
