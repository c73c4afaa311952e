from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.jwt.outage import replica_is_online
from tests.processes import HOST, wait_for
from tests.servers import Postgres, Redis

REDIS = pytest.param("redis", marks=pytest.mark.needs("redis"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    with Redis("--repl-diskless-sync-delay", "0") as primary, Redis("--replicaof", HOST, str(primary.port)):
        wait_for("the replica", lambda: replica_is_online(primary))
        yield primary


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres")), REDIS])
def plugins(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, Any]:
    """Return the configuration tables that select the session store."""
    if request.param == "memory":
        return {}
    if request.param == "sqlite":
        return {"pool": {"url": f"sqlite:///{tmp_path}/sessions.db"}}
    if request.param == "redis":
        primary: Redis = request.getfixturevalue("redis")
        primary.cli("FLUSHALL")
        return {"jwt": {"session_store": "redis", "redis_url": primary.url}}
    server: Postgres = request.getfixturevalue("postgres")
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return {"pool": {"url": server.url}}


@pytest.fixture
def primary() -> Iterator[Redis]:
    with Redis("--repl-diskless-sync-delay", "0") as server:
        yield server


@pytest.fixture
def replica(primary: Redis) -> Iterator[Redis]:
    with Redis("--replicaof", HOST, str(primary.port)) as server:
        wait_for("the replica", lambda: replica_is_online(primary))
        yield server
