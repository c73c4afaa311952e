"""The stores of the tests: in a database of each kind, in Redis and in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.idempotency.shop import Shop, open_shop
from tests.servers import Postgres, Redis

SQLITE, MEMORY = "sqlite", "memory"
POSTGRES = pytest.param("postgresql", marks=pytest.mark.needs("postgres"))
REDIS = pytest.param("redis", marks=pytest.mark.needs("redis"))
DATABASES = (SQLITE, POSTGRES)
STORES = (*DATABASES, REDIS, MEMORY)

Open = Callable[..., AbstractAsyncContextManager[Shop]]


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    with Postgres("max_connections=100") as server:
        yield server


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    if request.getfixturevalue("kind") != "postgresql":
        return f"sqlite:///{tmp_path}/shop.db"
    server: Postgres = request.getfixturevalue("shared_postgres")
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return server.url


@pytest.fixture
def open_service(request: pytest.FixtureRequest, kind: str, database_url: str) -> Open:
    """Return the function that starts the service with the store *kind* and further keys of the table."""
    table: dict[str, Any] = {"store": kind if kind in ("redis", "memory") else "database"}
    if kind == "redis":
        server: Redis = request.getfixturevalue("shared_redis")
        server.cli("FLUSHALL")
        table["redis_url"] = server.url
    return partial(open_shop, database_url, **table)


@pytest.fixture
async def shop(open_service: Open) -> AsyncGenerator[Shop, None]:
    async with open_service() as shop:
        yield shop
