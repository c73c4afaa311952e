"""Tables of queues for the tests: a SQLite file, and RabbitMQ and PostgreSQL with a queue prefix for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Postgres, RabbitMQ, RabbitMQ4

RABBITMQ = pytest.param("rabbitmq", marks=pytest.mark.needs("rabbitmq"))
RABBITMQ4 = pytest.param("rabbitmq4", marks=pytest.mark.needs("rabbitmq4"))
CLASSIC = pytest.param("classic", marks=pytest.mark.needs("rabbitmq4"))
POSTGRES = pytest.param("postgresql", marks=pytest.mark.needs("postgres"))
EVERY_RELEASE = ["sqlite", RABBITMQ, RABBITMQ4, CLASSIC, POSTGRES]
"""The transports, RabbitMQ with quorum queues of 3.x and 4.x, and with classic ones of 4.x."""
Tables = dict[str, dict[str, Any]]
BROKER = pytest.param("broker", marks=pytest.mark.needs("rabbitmq"))
BROKER4 = pytest.param("broker4", marks=pytest.mark.needs("rabbitmq4"))
BROKER_AND_SERVER = pytest.param("server", marks=[pytest.mark.needs("rabbitmq"), *POSTGRES.marks])

_prefixes = itertools.count(1)


@pytest.fixture(scope="session")
def shared_rabbitmq() -> Iterator[RabbitMQ]:
    with RabbitMQ() as server:
        yield server


@pytest.fixture
def broker(shared_rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    """Return the shared broker for a test that kills, pauses or blocks it; the next test finds it running."""
    yield shared_rabbitmq
    shared_rabbitmq.resume()
    if shared_rabbitmq.process.poll() is not None:
        shared_rabbitmq.start()


@pytest.fixture(scope="session")
def shared_rabbitmq4() -> Iterator[RabbitMQ4]:
    with RabbitMQ4() as server:
        yield server


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def rabbitmq_table(shared_rabbitmq: RabbitMQ) -> dict[str, Any]:
    return {"url": shared_rabbitmq.url, "prefix": f"test{next(_prefixes)}.", "check_interval": "200ms"}


@pytest.fixture
def rabbitmq4_table(shared_rabbitmq4: RabbitMQ4) -> dict[str, Any]:
    return {"url": shared_rabbitmq4.url, "prefix": f"test{next(_prefixes)}.", "check_interval": "200ms"}


@pytest.fixture
def classic_table(rabbitmq4_table: dict[str, Any]) -> dict[str, Any]:
    return {**rabbitmq4_table, "queue_type": "classic"}


@pytest.fixture
def no_start_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the first connection to RabbitMQ at the start."""
    monkeypatch.setattr("scalekit_queue.amqp.transport.START_TIMEOUT", 0.0)


@pytest.fixture
def sqlite_table(tmp_path: Path) -> dict[str, Any]:
    return {"url": f"sqlite:///{tmp_path}/queue.db", "poll_interval": "20ms", "visibility_timeout": "2s"}


@pytest.fixture(scope="session")
def queue_database(shared_postgres: Postgres) -> str:
    """Return the URL of a database that no test empties."""
    shared_postgres.sql("CREATE DATABASE queue")
    return shared_postgres.url.removesuffix("postgres") + "queue"


@pytest.fixture
def postgresql_table(queue_database: str) -> dict[str, Any]:
    intervals = {"poll_interval": "20ms", "visibility_timeout": "2s"}
    return {"url": queue_database, "prefix": f"test{next(_prefixes)}.", **intervals}


@pytest.fixture(params=["sqlite", RABBITMQ, POSTGRES])
def table(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the table of a queue, for each transport."""
    table: dict[str, Any] = request.getfixturevalue(f"{request.param}_table")
    return table


@pytest.fixture(params=["sqlite", POSTGRES])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.db"
    server: Postgres = request.getfixturevalue("shared_postgres")
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return server.url


TABLES = ["file", POSTGRES, BROKER, BROKER_AND_SERVER]


@pytest.fixture(params=TABLES)
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    """Return the tables of queue and pool: a file, PostgreSQL, RabbitMQ beside SQLite or PostgreSQL."""
    if request.param == "file":
        return {"queue": request.getfixturevalue("sqlite_table")}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("shared_postgres")
        postgres.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return {"queue": {"url": "database:", "poll_interval": "50ms"}, "pool": {"url": postgres.url}}
    broker = "rabbitmq4_table" if request.param == "broker4" else "rabbitmq_table"
    queue: dict[str, Any] = {**request.getfixturevalue(broker), "outbox_interval": "50ms"}
    if request.param != "server":
        return {"queue": queue, "pool": {"url": f"sqlite:///{tmp_path}/test.db"}}
    server: Postgres = request.getfixturevalue("shared_postgres")
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return {"queue": queue, "pool": {"url": server.url}}
