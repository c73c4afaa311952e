"""Where the states of schedules are: the queue's file, or a database beside RabbitMQ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.queue.conftest import POSTGRES
from tests.servers import Postgres

Tables = dict[str, dict[str, Any]]
BROKER = pytest.param("broker", marks=pytest.mark.needs("rabbitmq"))
BROKER_AND_SERVER = pytest.param("server", marks=[pytest.mark.needs("rabbitmq"), *POSTGRES.marks])


@pytest.fixture(params=["file", POSTGRES, BROKER, BROKER_AND_SERVER])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    """Return the tables of queue and pool: a file, PostgreSQL, RabbitMQ beside SQLite or PostgreSQL."""
    if request.param == "file":
        return {"queue": request.getfixturevalue("sqlite_table")}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("shared_postgres")
        postgres.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return {"queue": {"url": "database:", "poll_interval": "50ms"}, "pool": {"url": postgres.url}}
    queue: dict[str, Any] = {**request.getfixturevalue("rabbitmq_table"), "outbox_interval": "50ms"}
    if request.param == "broker":
        return {"queue": queue, "pool": {"url": f"sqlite:///{tmp_path}/test.db"}}
    server: Postgres = request.getfixturevalue("shared_postgres")
    server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return {"queue": queue, "pool": {"url": server.url}}
