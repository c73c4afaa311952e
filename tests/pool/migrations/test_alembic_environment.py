from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scalekit_pool.migrations.alembic_environment import offline_sql, read_config
from scalekit_pool.migrations.files import MigrationError
from tests.pool.migrations.alembic_project import ADA, USERS, AlembicProject
from tests.pool.migrations.harness import ENDLESS, MigratedDatabase

pytestmark = pytest.mark.anyio

STOCK = """
from alembic import context
from sqlalchemy import engine_from_config, pool
connectable = engine_from_config(context.config.get_section("alembic", {}), prefix="sqlalchemy.")
with connectable.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
ASYNC = """
import asyncio
async def main(): pass
work = main()
try:
    asyncio.run(work)
finally:
    work.close()
"""


@pytest.fixture
def project(target: MigratedDatabase) -> AlembicProject:
    return AlembicProject(target)


@pytest.mark.parametrize("text", [STOCK, ASYNC, ""])
async def test_an_environment_that_ignores_the_connection_is_refused(project: AlembicProject, text: str) -> None:
    project.revision("r1", USERS)
    project.environment(text)
    project.configure("sqlalchemy.url = sqlite:///other.db")
    with pytest.raises(MigrationError, match=r"env\.py does not use the connection of scalekit: let it take config"):
        await project.upgrade()
    assert not (project.folder / "other.db").exists()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("op.add_colum('users')", r"r1\.py:8: AttributeError: module 'alembic\.op' has no attribute 'add_colum'"),
        ("import absent_module", r"r1\.py:8: ModuleNotFoundError: No module named 'absent_module'"),
        ("(", r"r1\.py:8: SyntaxError: '\(' was never closed"),
    ],
)
async def test_a_mistake_in_the_code_of_a_revision_is_named_with_its_line(
    project: AlembicProject, code: str, error: str
) -> None:
    project.revision("r1", code)
    with pytest.raises(MigrationError, match=f"{error}; fix it and migrate again$"):
        await project.upgrade()
    project.last = None
    project.revision("r1", USERS)
    assert await project.upgrade() == ["r1"]


async def test_a_cancelled_migration_ends_at_once_and_leaves_nothing(project: AlembicProject) -> None:
    project.revision("r1", f"{USERS}; op.execute({ENDLESS[project.target.dialect]!r})")
    task = asyncio.create_task(project.upgrade())
    await project.until_it_migrates()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await project.target.has("users")
    project.last = None
    project.revision("r1", USERS)
    assert await project.upgrade() == ["r1"]


async def test_the_configuration_is_a_file_that_exists(project: AlembicProject, tmp_path: Path) -> None:
    with pytest.raises(MigrationError, match=r"absent\.ini: no such file: run `scalekit pool alembic init`"):
        read_config(str(tmp_path / "absent.ini"))
    with pytest.raises(MigrationError, match=r"package 'absent' of 'absent:alembic\.ini' is not installed"):
        read_config("absent:alembic.ini")
    config = read_config(project.ini)
    assert config.config_file_name is None
    assert str(config.get_alembic_option("script_location")).endswith("alembic_files")


async def test_pyproject_toml_has_the_configuration(project: AlembicProject) -> None:
    project.revision("r1", USERS)
    toml = project.folder / "pyproject.toml"
    toml.write_text('[tool.alembic]\nscript_location = "%(here)s/alembic_files"\n')
    project.ini = str(toml)
    assert await project.upgrade() == ["r1"]


async def test_revisions_become_sql_without_a_connection(project: AlembicProject) -> None:
    project.revision("r1", USERS)
    project.revision("r2", ADA)
    sql = offline_sql(read_config(project.ini), project.target.dialect, "r1:head")
    assert "CREATE TABLE" not in sql
    assert "-- Running upgrade r1 -> r2" in sql
    assert "INSERT INTO users VALUES (1, 'Ada')" in sql
