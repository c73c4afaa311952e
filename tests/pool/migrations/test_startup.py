"""Migrations that a start would apply are read by `scalekit check` and each start, before a connection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scalekit import ConfigError, create_app
from tests.pool.migrations.alembic_project import USERS, AlembicProject
from tests.pool.migrations.harness import MigratedDatabase


async def app(scope: object, receive: object, send: object) -> None:
    pass


def build(migrations: str | Path, *, migrate_on_start: bool = True) -> None:
    pool = {"url": "postgresql://nobody@127.0.0.1:1/none", "migrations": str(migrations)}
    create_app({"plugins": {"pool": {**pool, "migrate_on_start": migrate_on_start}}}, app=app)


def problem(migrations: str | Path) -> str:
    with pytest.raises(ConfigError) as caught:
        build(migrations)
    (found,) = caught.value.problems
    assert found.key == "plugins.pool.migrations"
    return found.message


def test_a_missing_folder_or_an_invalid_file_is_found_without_a_connection(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    assert "create the folder, or set migrations in [plugins.pool]" in problem(folder)
    build(folder, migrate_on_start=False)
    folder.mkdir()
    assert "no migrations for postgresql: add a file" in problem(folder)
    (folder / "0001_users.sql").write_text("BEGIN;\n")
    assert f"{folder}/0001_users.sql:1: remove BEGIN" in problem(folder)
    (folder / "0001_users.sql").write_text("SELECT 1;\n")
    build(folder)


def no_file(project: AlembicProject) -> None:
    Path(project.ini).unlink()


def no_folder(project: AlembicProject) -> None:
    (project.folder / "alembic_files").rename(project.folder / "elsewhere")


def no_environment(project: AlembicProject) -> None:
    (project.folder / "alembic_files/env.py").unlink()


def unreadable_environment(project: AlembicProject) -> None:
    no_environment(project)
    (project.folder / "alembic_files/env.py").mkdir()


def invalid_environment(project: AlembicProject) -> None:
    project.environment("a = (\n")


def invalid_revision(project: AlembicProject) -> None:
    project.revision("r2", USERS).write_text("revision, down_revision = unknown\n")


INVALID = [
    (no_file, "alembic.ini: no such file: run `scalekit pool alembic init`, or set migrations in"),
    (no_folder, "alembic: Path doesn't exist"),
    (no_environment, "env.py: cannot be read: No such file or directory: fix it, or make a new"),
    (unreadable_environment, "env.py: cannot be read: Is a directory: fix it, or make a new"),
    (invalid_environment, "env.py:1: SyntaxError: '(' was never closed; fix it"),
    (invalid_revision, "r2.py:1: NameError: name 'unknown' is not defined; fix it"),
]


@pytest.mark.parametrize(("damage", "message"), INVALID)
def test_an_unusable_environment_of_alembic_is_found_without_a_connection(
    tmp_path: Path, damage: Callable[[AlembicProject], None], message: str
) -> None:
    project = AlembicProject(MigratedDatabase("postgresql", "", tmp_path / "migrations"))
    project.revision("r1", USERS)
    build(project.ini)
    damage(project)
    assert message in problem(project.ini)
    build(project.ini, migrate_on_start=False)
