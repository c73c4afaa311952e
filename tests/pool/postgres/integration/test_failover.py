"""Failovers after which the old primary still runs as a primary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit import Unavailable
from scalekit.telemetry import Telemetry
from scalekit_pool.database import PooledDatabase
from scalekit_pool.health import check_database, check_servers
from scalekit_pool.postgres import timelines
from tests.pool.harness import opened, wait_until
from tests.processes import HOST
from tests.servers import Postgres, Replica
from tests.stream_server import stream_server

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and a replica to be promoted; the user has rights on the table only."""

    old: Postgres
    new: Replica

    @property
    def urls(self) -> list[str]:
        return [address(self.old), address(self.new)]

    def promote(self) -> None:
        self.new.sql("SELECT pg_promote()")


class Model(DeclarativeBase):
    pass


class Order(Model):
    __tablename__ = "orders"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


Write = Callable[[PooledDatabase, int], Awaitable[bool]]


def address(server: Postgres) -> str:
    return f"postgresql://app@{HOST}:{server.port}/postgres"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Postgres() as old:
        old.sql("CREATE ROLE app LOGIN; CREATE TABLE orders (number int); GRANT ALL ON orders TO app")
        with old.replica("new") as new:
            yield Pair(old, new)


async def put(database: PooledDatabase, number: int) -> bool:
    try:
        await database.execute("INSERT INTO orders VALUES (:number)", {"number": number})
    except (Unavailable, TimeoutError):
        return False
    return True


async def put_object(database: PooledDatabase, number: int) -> bool:
    try:
        async with database.sessions() as session:
            session.add(Order(number=number))
            await session.commit()
    except (Unavailable, TimeoutError):
        return False
    return True


EITHER = pytest.mark.parametrize("write", [put, put_object], ids=["statements", "sessions"])


async def until_written(database: PooledDatabase, write: Write = put) -> None:
    async with asyncio.timeout(LIMIT):
        while not await write(database, 0):
            await asyncio.sleep(0.01)


def stale(telemetry: Telemetry) -> float:
    return float(telemetry.snapshot().families["scalekit_pool_stale_primaries"].data[("primary",)])


def orders(server: Postgres) -> str:
    return server.sql("SELECT count(*) FROM orders WHERE number > 0")


@asynccontextmanager
async def relay() -> AsyncGenerator[tuple[int, Callable[[Postgres], None]], None]:
    """Yield a port, and the function that sets the server its connections go to, as a DNS name or a proxy does."""
    target: list[int] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        finally:
            writer.close()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(HOST, target[-1])
        try:
            await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer), return_exceptions=True)
        finally:
            up_writer.transport.abort()

    async with stream_server(carry) as port:
        yield port, lambda to: target.append(to.port)


@EITHER
async def test_an_old_primary_that_comes_back_is_not_written_to(
    pair: Pair, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    telemetry = Telemetry(1000)
    async with opened(*pair.urls, telemetry=telemetry, max_size=8, acquire_timeout="2s") as database:
        await until_written(database, write)
        await asyncio.to_thread(pair.old.kill)
        await asyncio.to_thread(pair.promote)
        await until_written(database, write)
        await asyncio.to_thread(pair.old.start)
        for number in range(1, 201):
            if number % 10 == 0:
                database.driver.writers.invalidate_all()
            await asyncio.gather(*(write(database, number) for _ in range(4)))
        assert orders(pair.old) == "0"
        assert int(orders(pair.new)) > 700
        await wait_until(lambda: bool(database.driver.server_problems), LIMIT)
        await check_database(database)
        with pytest.raises(ConnectionError, match=f"{HOST}:{pair.old.port} is a primary on timeline 1"):
            check_servers(database)
        assert caplog.text.count("it is an old primary") == 1
        assert stale(telemetry) > 0
        await asyncio.to_thread(pair.old.kill)
        await wait_until(lambda: not database.driver.server_problems, LIMIT)
        check_servers(database)


async def write_until_cut(database: PooledDatabase, pair: Pair) -> None:
    async with asyncio.timeout(LIMIT), database.transaction():
        await database.execute("INSERT INTO orders VALUES (1)")
        await asyncio.to_thread(pair.promote)
        while True:
            await database.fetch_val("SELECT pg_sleep(0.05)")


async def flush_until_cut(database: PooledDatabase, pair: Pair) -> None:
    async with asyncio.timeout(LIMIT), database.sessions() as session:
        session.add(Order(number=1))
        await session.flush()
        await asyncio.to_thread(pair.promote)
        while True:
            await session.scalar(select(func.pg_sleep(0.05)))


@pytest.mark.parametrize(
    ("write", "write_until"), [(put, write_until_cut), (put_object, flush_until_cut)], ids=["statements", "sessions"]
)
async def test_connections_to_a_replaced_primary_are_terminated(
    pair: Pair, write: Write, write_until: Callable[[PooledDatabase, Pair], Awaitable[None]]
) -> None:
    async with opened(*pair.urls, max_size=4) as database:
        await until_written(database, write)
        with pytest.raises(Unavailable, match="lost"):
            await write_until(database, pair)
        await until_written(database, write)
        assert await write(database, 2)
        assert (orders(pair.old), orders(pair.new)) == ("0", "1")


async def test_a_process_that_starts_beside_an_old_primary_finds_the_new_one(pair: Pair) -> None:
    await asyncio.to_thread(pair.promote)
    for urls in (pair.urls, pair.urls[::-1]) * 3:
        async with opened(*urls) as database:
            assert await put(database, 1)
    assert (orders(pair.old), orders(pair.new)) == ("0", "6")


async def test_an_address_that_points_back_to_the_old_primary_gets_no_writes(pair: Pair) -> None:
    async with relay() as (port, lead_to):
        lead_to(pair.old)
        url = f"postgresql://app@{HOST}:{port}/postgres"
        async with opened(url, acquire_timeout="200ms") as database:
            assert await put(database, 1)
            await asyncio.to_thread(pair.promote)
            lead_to(pair.new)
            database.driver.writers.invalidate_all()
            assert await put(database, 2)
            lead_to(pair.old)
            database.driver.writers.invalidate_all()
            with pytest.raises(Unavailable, match="timeline 1 behind timeline 2: it is an old primary"):
                await database.execute("INSERT INTO orders VALUES (3)")
            with pytest.raises(ConnectionError, match="it is an old primary"):
                await check_database(database)
            lead_to(pair.new)
            await until_written(database)
    assert orders(pair.old) == "1"


async def test_a_recreated_cluster_at_the_same_address_takes_writes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timelines, "REPLACED_AFTER", 0.5)
    await asyncio.to_thread(pair.promote)
    with Postgres() as another:
        another.sql("CREATE ROLE app LOGIN; CREATE TABLE orders (number int); GRANT ALL ON orders TO app")
        async with relay() as (port, lead_to):
            lead_to(pair.new)
            async with opened(f"postgresql://app@{HOST}:{port}/postgres") as database:
                assert await put(database, 1)
                lead_to(another)
                await asyncio.to_thread(pair.new.kill)
                await until_written(database)
                assert await put(database, 2)
        assert orders(another) == "1"


async def test_servers_of_different_clusters_are_not_mixed(pair: Pair) -> None:
    with Postgres() as another:
        another.sql("CREATE ROLE app LOGIN; CREATE TABLE orders (number int); GRANT ALL ON orders TO app")
        async with opened(address(pair.old), address(another)) as database:
            for number in range(1, 20):
                assert await put(database, number)
                database.driver.writers.invalidate_all()
            await wait_until(lambda: "is another PostgreSQL cluster" in database.driver.server_problems, LIMIT)
        assert sorted([orders(pair.old), orders(another)]) == ["0", "19"]


async def test_a_user_without_access_to_the_timeline_can_connect(pair: Pair) -> None:
    pair.old.sql("REVOKE EXECUTE ON FUNCTION pg_control_system(), pg_walfile_name(pg_lsn) FROM PUBLIC")
    async with opened(address(pair.old)) as database:
        assert await put(database, 1)
