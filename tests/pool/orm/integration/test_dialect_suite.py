"""SQLAlchemy's own suite for dialects passes on databases of the pool, in a process of its own for each database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pool.orm.integration.dialect_suite.requirements import reasons
from tests.servers import MariaDB, Postgres

ROOT = Path(__file__).parents[4]
SUITE = Path(__file__).parent / "dialect_suite"
PLUGINS = ("sqlalchemy.testing.plugin.pytestplugin", f"{__package__}.dialect_suite.provision", "tests.gate.recorder")
PASSED = {"postgresql": 1863, "sqlite": 1521, "mariadb": 1648}
"""Tests of SQLAlchemy 2.1.9 that pass on its asyncpg and asyncmy engines with the same requirements, on its aiosqlite
engine with its own."""


@pytest.mark.needs("postgres")
def test_the_suite_of_sqlalchemy_passes_on_postgresql(
    shared_postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    shared_postgres.sql("CREATE SCHEMA test_schema; CREATE SCHEMA test_schema_2")
    check(run(postgres_url.replace("://", "+scalekit://"), tmp_path), "postgresql")


def test_the_suite_of_sqlalchemy_passes_on_sqlite(tmp_path: Path) -> None:
    check(run(f"sqlite+scalekit:///{tmp_path}/suite.db", tmp_path), "sqlite")


@pytest.mark.needs("mariadb")
def test_the_suite_of_sqlalchemy_passes_on_mariadb(tmp_path: Path) -> None:
    with MariaDB() as server:  # of its own, since the suite inserts several rows with DEFAULT as generated key
        for schema in ("test_schema", "test_schema_2"):
            server.sql(f"CREATE DATABASE {schema} CHARACTER SET utf8mb4")
        check(run(server.url.replace("://", "+scalekit://"), tmp_path), "mariadb")


def run(url: str, folder: Path) -> dict[str, Any]:
    """Run the suite on the database at *url*; return its results, as the recorder writes them."""
    record = folder / "results.json"
    plugins = [part for name in PLUGINS for part in ("-p", name)]
    options = ["-c", f"{SUITE}/setup.cfg", "--rootdir", f"{SUITE}", "--dburi", url, "--record", f"{record}"]
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", *plugins, *options, f"{SUITE}"]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=580)
    assert ended.returncode == 0, ended.stdout[-20_000:]
    results: dict[str, Any] = json.loads(record.read_text())
    return results


def check(results: dict[str, Any], database: str) -> None:
    """Check that all tests passed, as many as on SQLAlchemy's engine, or were skipped for a reason of our table."""
    tests = results["tests"]
    assert (results["problems"], results["lost"]) == ([], [])
    skipped = {name: test["message"] for name, test in tests.items() if test["outcome"] == "skipped"}
    known = tuple(reasons(database))
    assert {name: message for name, message in skipped.items() if not message.endswith(known)} == {}
    assert {test["outcome"] for test in tests.values()} == {"passed", "skipped"}
    assert len(tests) - len(skipped) >= PASSED[database]
