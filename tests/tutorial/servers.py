"""The servers that the pages tell their reader to start, with the role and database that the pages create."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.servers import Postgres, RabbitMQ, Redis

POSTGRES_PORT, STANDBY_PORT, REDIS_PORT, AMQP_PORT = 5432, 5433, 6379, 5672
"""The ports in the pages."""


class ReplicatedPostgres:
    """PostgreSQL with a standby; *ports* has their ports by those in the pages."""

    def __init__(self) -> None:
        self.primary = Postgres()
        self.standby = self.primary.replica("standby")
        self._exit = ExitStack()

    @property
    def ports(self) -> dict[int, int]:
        return {POSTGRES_PORT: self.primary.port, STANDBY_PORT: self.standby.port}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.primary)
            _create_database(self.primary)
            stack.enter_context(self.standby)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, traceback)


class Servers:
    """PostgreSQL with a standby, Redis and RabbitMQ; *ports* has their ports by those in the pages."""

    def __init__(self) -> None:
        self.postgres, self.redis, self.rabbitmq = ReplicatedPostgres(), Redis(), RabbitMQ()
        self._exit = ExitStack()

    @property
    def ports(self) -> dict[int, int]:
        return {**self.postgres.ports, REDIS_PORT: self.redis.port, AMQP_PORT: self.rabbitmq.port}

    def __enter__(self) -> Self:
        with ExitStack() as stack, ThreadPoolExecutor() as threads:
            for started in [
                threads.submit(stack.enter_context, server) for server in (self.postgres, self.redis, self.rabbitmq)
            ]:
                started.result()
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, traceback)


def _create_database(postgres: Postgres) -> None:
    postgres.sql("CREATE ROLE shop LOGIN PASSWORD 'secret'")
    postgres.sql("CREATE DATABASE shop OWNER shop")
