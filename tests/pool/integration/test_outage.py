"""A server stops, hangs and returns while 32 tasks use it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit_pool.database import PooledDatabase
from tests.pool.harness import opened, wait_until, wait_until_released
from tests.servers import MariaDB, Postgres

pytestmark = pytest.mark.anyio

TASKS = 32
ACQUIRE = 1.0
STATEMENT = 1.0
SLACK = 2.0
"""What the client waits longer than the server's time-out, and a busy machine's delays."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Postgres, id="postgresql", marks=pytest.mark.needs("postgres")),
        pytest.param(MariaDB, id="mariadb", marks=pytest.mark.needs("mariadb")),
    ],
)
def server(request: pytest.FixtureRequest) -> Iterator[Postgres | MariaDB]:
    with request.param() as server:
        yield server


@pytest.fixture
async def database(server: Postgres | MariaDB) -> AsyncGenerator[PooledDatabase, None]:
    options: dict[str, Any] = {
        "acquire_timeout": f"{ACQUIRE}s",
        "statement_timeout": f"{STATEMENT}s",
        "connect_timeout": "500ms",
    }
    async with opened(server.url, max_size=8, **options) as database:
        await database.execute("DROP TABLE IF EXISTS work")
        await database.execute("CREATE TABLE work (client int, number int)")
        yield database


@dataclass
class Load:
    """Tasks that repeatedly write two rows in a transaction and read them, and the outcome of each write."""

    database: PooledDatabase
    done: set[tuple[int, int]] = field(default_factory=set)
    cut: set[tuple[int, int]] = field(default_factory=set)
    errors: list[BaseException] = field(default_factory=list)
    late: int = 0
    ended: bool = False

    async def client(self, client: int) -> None:
        number = 0
        while not self.ended:
            number += 1
            await self._write(client, number)
            await self._read(client)

    async def _write(self, client: int, number: int) -> None:
        values = {"client": client, "number": number}
        inside = True
        try:
            async with self._bound(), self.database.transaction():
                for _ in range(2):
                    await self.database.execute("INSERT INTO work VALUES (:client, :number)", values)
                inside = False
            self.done.add((client, number))
        except (Unavailable, TimeoutError) as error:
            self.errors.append(error)
            if inside:
                self.cut.add((client, number))

    async def _read(self, client: int) -> None:
        try:
            async with self._bound():
                await self.database.fetch_val("SELECT count(*) FROM work WHERE client = :client", {"client": client})
        except (Unavailable, TimeoutError) as error:
            self.errors.append(error)

    @asynccontextmanager
    async def _bound(self) -> AsyncGenerator[None, None]:
        bound = asyncio.timeout(ACQUIRE + STATEMENT + SLACK)
        try:
            async with bound:
                yield
        finally:
            self.late += bound.expired()

    async def verify(self) -> None:
        assert self.late == 0
        rows = await self.database.fetch_all("SELECT client, number FROM work")
        found = Counter((row.client, row.number) for row in rows)
        assert set(found.values()) == {2}
        assert self.done <= set(found)
        assert not self.cut & set(found)


async def responds(database: PooledDatabase) -> None:
    """Wait until *database* responds."""
    async with asyncio.timeout(60):
        while True:
            try:
                await database.execute("DELETE FROM work WHERE 1 = 0")
                return
            except (Unavailable, TimeoutError):
                await asyncio.sleep(0.01)


async def under_load(database: PooledDatabase, harm: str, heal: str, server: Postgres | MariaDB, enough: int) -> Load:
    load = Load(database)
    async with asyncio.TaskGroup() as group:
        for client in range(TASKS):
            group.create_task(load.client(client))
        await wait_until(lambda: len(load.done) > 2 * TASKS)
        await asyncio.to_thread(getattr(server, harm))
        await wait_until(lambda: len(load.errors) >= enough, 20)
        await asyncio.to_thread(getattr(server, heal))
        await responds(database)
        done = len(load.done)
        await wait_until(lambda: len(load.done) > done + 2 * TASKS)
        load.ended = True
    await load.verify()
    await wait_until_released(database)
    return load


async def test_the_pool_reconnects_after_a_kill(server: Postgres | MariaDB, database: PooledDatabase) -> None:
    load = await under_load(database, "kill", "start", server, 2 * TASKS)
    assert any(isinstance(error, Unavailable) for error in load.errors)
    assert database.driver.writers.supplier.last_error == ""


async def test_the_pool_reconnects_after_a_shutdown(server: Postgres | MariaDB, database: PooledDatabase) -> None:
    await under_load(database, "stop", "start", server, TASKS)


async def test_the_pool_reconnects_after_a_hang(server: Postgres | MariaDB, database: PooledDatabase) -> None:
    await under_load(database, "pause", "resume", server, 4 * TASKS)


async def test_the_pool_connects_once_the_database_exists(server: Postgres | MariaDB) -> None:
    await asyncio.to_thread(server.stop)
    try:
        async with opened(server.url, acquire_timeout="10ms") as database:
            with pytest.raises(Unavailable, match=f"nothing listens at 127.0.0.1:{server.port}"):
                await database.fetch_val("SELECT 1")
            await asyncio.to_thread(server.start)
            async with asyncio.timeout(60):
                while database.driver.writers.supplier.last_error:
                    await asyncio.sleep(0.01)
            assert await database.fetch_val("SELECT 1") == 1
    finally:
        if server.process.poll() is not None:
            server.start()
