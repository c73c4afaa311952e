"""Databases for the tests of the pool: a SQLite file, SQLite in memory, an empty PostgreSQL and an empty MariaDB."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import opened, wait_until_released
from tests.pool.schema import CHILDREN, ITEMS, PARENTS, create
from tests.pool.table_recorder import Recorder
from tests.servers import MariaDB, Postgres

# Much faster than a new database for each test.
EMPTY = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public;
    GRANT ALL ON SCHEMA public TO public;
END $$
"""
EMPTY_MARIADB = "DROP DATABASE shop; CREATE DATABASE shop CHARACTER SET utf8mb4"
POSTGRES = pytest.param("postgresql", marks=pytest.mark.needs("postgres"))
MARIADB = pytest.param("mariadb", marks=pytest.mark.needs("mariadb"))

ORM = ["file", "memory", POSTGRES, MARIADB]
"""The databases of ORM sessions."""

Open = Callable[..., AbstractAsyncContextManager[PooledDatabase]]


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    with Postgres("max_connections=200", "max_prepared_transactions=0") as server:
        yield server


@pytest.fixture
def postgres_url(shared_postgres: Postgres) -> str:
    """Return the URL of an empty database."""
    shared_postgres.sql(EMPTY)
    return shared_postgres.url


@pytest.fixture(scope="session")
def shared_mariadb() -> Iterator[MariaDB]:
    with MariaDB("sql-mode=STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO") as server:  # a key may be 0, as elsewhere
        yield server


@pytest.fixture
def mariadb_url(shared_mariadb: MariaDB) -> str:
    """Return the URL of an empty database."""
    shared_mariadb.sql(EMPTY_MARIADB)
    return shared_mariadb.url


@pytest.fixture(params=["file", "memory", POSTGRES, MARIADB])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request, tmp_path)


def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database of the kind that the parameter of *request* names."""
    if request.param in ("postgresql", "mariadb"):
        address: str = request.getfixturevalue("postgres_url" if request.param == "postgresql" else "mariadb_url")
        return address
    return "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/test.db"


@pytest.fixture
def open_database(url: str) -> Open:
    """Return the function that opens the database with options of ``[plugins.pool]``."""
    return lambda **options: opened(url, **options)


@pytest.fixture
async def database(open_database: Open) -> AsyncGenerator[PooledDatabase, None]:
    async with open_database(max_size=4) as database:
        yield database


@pytest.fixture
def recorder(url: str) -> Recorder:
    return Recorder(url)


@pytest.fixture
async def observed(url: str, recorder: Recorder) -> AsyncGenerator[PooledDatabase, None]:
    async with opened(url, observer=recorder, max_size=4) as database, opened(url, max_size=1) as other:
        await create(database, ITEMS, PARENTS, CHILDREN)
        recorder.forget()
        recorder.other = None if "memory" in url else other
        yield database
        await wait_until_released(database)
