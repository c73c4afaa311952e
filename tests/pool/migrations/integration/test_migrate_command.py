from __future__ import annotations

import subprocess

import pytest

from tests import command_line
from tests.pool.migrations.harness import ADA, SLOW, USERS, MigratedDatabase
from tests.service import APPLICATION

pytestmark = pytest.mark.anyio


def scalekit(target: MigratedDatabase, *arguments: str, more: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of the pool in the folder of *target*, in which the plugin opens its database."""
    folder = target.directory.parent
    url = f"sqlite:///{target.address}" if target.dialect == "sqlite" else target.address
    pool = f'[plugins.pool]\nurl = "{url}"\nmigrations = "{target.directory}"\n{more}'
    (folder / "scalekit.toml").write_text(f'[app]\ntarget = "service:app"\n{pool}')
    (folder / "service.py").write_text(APPLICATION)
    return command_line.scalekit("pool", *arguments, folder=folder)


def test_the_command_applies_or_lists(target: MigratedDatabase) -> None:
    target.write("0001_create_users.sql", USERS)
    target.write("0002_add_ada.sql", ADA)
    runs = [scalekit(target, "migrate", *options) for options in (["--pending"], [], [], ["--pending"])]
    assert [run.returncode for run in runs] == [0, 0, 0, 0], runs
    assert [run.stdout for run in runs] == [
        "0001_create_users\n0002_add_ada\n",
        "applied 0001_create_users\napplied 0002_add_ada\n",
        "no pending migrations\n",
        "no pending migrations\n",
    ]


def test_the_command_fails_with_the_file_and_the_remedy(target: MigratedDatabase) -> None:
    path = target.write("0001_create_users.sql", "BEGIN;\n" + USERS)
    run = scalekit(target, "migrate")
    assert run.returncode == 1
    assert run.stderr == f"error: {path}:1: remove BEGIN: each file already runs in its own transaction\n"


def test_a_migration_may_take_longer_than_the_statements_of_the_pool(target: MigratedDatabase) -> None:
    target.write("0001_slow.sql", SLOW[target.dialect])
    run = scalekit(target, "migrate", more='statement_timeout = "300ms"\n')
    assert (run.returncode, run.stdout) == (0, "applied 0001_slow\n"), run.stderr


def test_warnings_are_errors_with_strict(target: MigratedDatabase) -> None:
    path = target.write("0001_create_users.sql", f"{USERS}DROP TABLE IF EXISTS people;\n")
    runs = [scalekit(target, "migrate", "--strict", *options) for options in (["--pending"], [])]
    if target.dialect == "postgresql":
        assert [(run.returncode, run.stdout) for run in runs] == [(1, ""), (1, "")]
        assert all(f"warning: {path}:2: ban-drop-table" in run.stderr for run in runs)
        assert all("error: --strict: nothing is applied, since there are warnings (2)" in run.stderr for run in runs)
        path.write_text(f"-- squawk-ignore-file ban-drop-table, require-lock-timeout\n{path.read_text()}")
        runs = [scalekit(target, "migrate", "--pending"), scalekit(target, "migrate", "--strict")]
    assert [run.stdout for run in runs] == ["0001_create_users\n", "applied 0001_create_users\n"], runs


def test_the_command_warns_of_statements_that_lock(target: MigratedDatabase) -> None:
    path = target.write("0001_create_users.sql", f"{USERS}DROP TABLE IF EXISTS people;\n")
    for options in (["--pending"], []):
        run = scalekit(target, "migrate", *options)
        assert run.returncode == 0
        warning = f"warning: {path}:2: ban-drop-table: DROP TABLE IF EXISTS people: instances of the previous release"
        assert (warning in run.stderr) == (target.dialect == "postgresql")
    assert "warning" not in scalekit(target, "migrate").stderr
