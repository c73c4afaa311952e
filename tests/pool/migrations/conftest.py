"""Databases for the tests of migrations, each with an empty directory of migrations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pool.migrations.harness import NUMBERS, MigratedDatabase
from tests.servers import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> MigratedDatabase:
    directory = tmp_path / "migrations"
    directory.mkdir()
    if request.param == "sqlite":
        return MigratedDatabase("sqlite", str(tmp_path / "test.db"), directory)
    server: Postgres = request.getfixturevalue("postgres")
    name = f"migrations_{next(NUMBERS)}"
    server.sql(f"CREATE DATABASE {name}")
    return MigratedDatabase("postgresql", server.url.removesuffix("postgres") + name, directory)
