"""``scalekit pool alembic`` in a new project, on the database of the configuration."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from tests import command_line
from tests.pool.migrations.harness import MigratedDatabase
from tests.service import APPLICATION

pytestmark = pytest.mark.anyio

MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table, Text
metadata = MetaData()
users = Table("users", metadata, Column("id", Integer, primary_key=True), Column("name", Text, nullable=False))
"""
POOL = """[app]
target = "service:app"
[plugins.pool]
url = "{url}"
migrations = "alembic.ini"
migrate_on_start = true
"""


class Project:
    """A folder with a configuration and models; the command runs in it."""

    def __init__(self, target: MigratedDatabase) -> None:
        self.folder = target.directory.parent
        url = f"sqlite:///{target.address}" if target.dialect == "sqlite" else target.address
        self.write("scalekit.toml", POOL.format(url=url.replace("@", ":hidden-password@")))
        self.write("service.py", APPLICATION)
        self.write("models.py", MODELS)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def scalekit(self, *arguments: str, code: int = 0) -> str:
        run = command_line.scalekit("pool", *arguments, folder=self.folder)
        assert run.returncode == code, run
        assert "hidden-password" not in run.stdout + run.stderr
        return run.stdout + run.stderr

    def create(self) -> None:
        self.scalekit("alembic", "init")
        environment = self.folder / "migrations/env.py"
        text = environment.read_text()
        assert "target_metadata = None\n" in text
        environment.write_text(text.replace("target_metadata = None", "from models import metadata as target_metadata"))


@pytest.fixture
def project(target: MigratedDatabase) -> Project:
    target.directory.rmdir()
    return Project(target)


async def test_a_project_is_made_and_its_tables_are_created(project: Project, target: MigratedDatabase) -> None:
    project.create()
    async with target.session() as session:
        await session.execute("CREATE TABLE scalekit_queue_outbox (id INTEGER)")
    made = project.scalekit("alembic", "revision", "--autogenerate", "-m", "create users")
    assert "Detected added table 'users'" in made
    assert "scalekit_queue_outbox" not in made
    (name,) = [path.stem for path in (project.folder / "migrations/versions").glob("*.py")]
    # A command applies nothing but what it names, whatever migrate_on_start says.
    assert project.scalekit("migrate", "--pending") == f"{name}\n"
    assert "CREATE TABLE users" in project.scalekit("alembic", "upgrade", "head", "--sql")
    assert not await target.has("users")
    assert "Running upgrade  -> " in project.scalekit("alembic", "upgrade", "head")
    assert await target.has("users")
    assert "(head)" in project.scalekit("alembic", "current")
    assert "No new upgrade operations detected" in project.scalekit("alembic", "check")
    project.scalekit("alembic", "downgrade", "base")
    assert not await target.has("users")
    assert project.scalekit("migrate") == f"applied {name}\n"
    assert await target.has("scalekit_queue_outbox")


def test_wrong_use_is_an_error_with_a_remedy(project: Project) -> None:
    missing = project.scalekit("alembic", "current", code=1)
    assert missing.endswith("alembic.ini: no such file: run `scalekit pool alembic init`, or name one with --config\n")
    assert "invalid choice: 'nonsense'" in project.scalekit("alembic", "nonsense", code=2)
    assert "too few arguments" in project.scalekit("alembic", code=2)
    project.create()
    unknown = project.scalekit("alembic", "upgrade", "nonsense", code=1)
    assert unknown.endswith("error: alembic: Can't locate revision identified by 'nonsense'\n")
    assert "already exists and is not empty" in project.scalekit("alembic", "init", code=1)


async def test_the_environment_works_with_alembic_alone(project: Project, target: MigratedDatabase) -> None:
    if target.dialect == "postgresql":
        return  # plain Alembic needs a synchronous driver, which the project does not have
    project.create()
    project.scalekit("alembic", "revision", "--autogenerate", "-m", "create users")
    ini = project.folder / "alembic.ini"
    text = ini.read_text()
    assert "\nsqlalchemy.url" not in text
    ini.write_text(text.replace("# sqlalchemy.url = ", f"sqlalchemy.url = sqlite:///{target.address}\n# "))
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=project.folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Running upgrade" in done.stderr
    assert await target.has("users")
