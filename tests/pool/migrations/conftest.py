"""Databases for the tests of migrations, each with an empty directory of migrations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pool.migrations.harness import NUMBERS, MigratedDatabase
from tests.servers import MariaDB, Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


POSTGRES = pytest.param("postgresql", marks=pytest.mark.needs("postgres"))
MARIADB = pytest.param("mysql", marks=pytest.mark.needs("mariadb"))


@pytest.fixture(params=["sqlite", POSTGRES])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> MigratedDatabase:
    """Return a database that can roll back DDL."""
    return new_database(request.param, request, tmp_path)


@pytest.fixture(params=["sqlite", POSTGRES, MARIADB])
def any_target(request: pytest.FixtureRequest, tmp_path: Path) -> MigratedDatabase:
    return new_database(request.param, request, tmp_path)


@pytest.fixture
def mysql_target(request: pytest.FixtureRequest, tmp_path: Path) -> MigratedDatabase:
    return new_database("mysql", request, tmp_path)


def new_database(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> MigratedDatabase:
    directory = tmp_path / "migrations"
    directory.mkdir()
    if dialect == "sqlite":
        return MigratedDatabase("sqlite", str(tmp_path / "test.db"), directory)
    server: Postgres | MariaDB = request.getfixturevalue("postgres" if dialect == "postgresql" else "mariadb")
    name = f"migrations_{next(NUMBERS)}"
    server.sql(f"CREATE DATABASE {name}")
    return MigratedDatabase(dialect, f"{server.url.rpartition('/')[0]}/{name}", directory)
