from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import DeclarativeBase

from scalekit import Unavailable
from scalekit.telemetry import Telemetry
from scalekit_pool.database import PooledDatabase
from scalekit_pool.filters import CURRENT_REQUEST
from tests.pool.conftest import ORM
from tests.pool.harness import opened, wait_until, wait_until_released
from tests.pool.schema import ITEMS, create

pytestmark = pytest.mark.anyio


class Model(DeclarativeBase):
    pass


class Item(Model):
    __table__ = ITEMS.to_metadata(Model.metadata)


@asynccontextmanager
async def flushed(database: PooledDatabase) -> AsyncGenerator[None, None]:
    """Hold the connection of a session that has flushed an object."""
    async with database.sessions() as session:
        session.add(Item(id=1, name="a"))
        await session.flush()
        yield


def skips_sessions(database: PooledDatabase, run: object) -> bool:
    """Return whether *run* uses ORM sessions, which *database* does not have."""
    return database.dialect == "mysql" and run in (load_slowly, flushed)


async def fetch_slowly(database: PooledDatabase, query: str, values: dict[str, str]) -> object:
    return await database.fetch_val(query, values)


async def load_slowly(database: PooledDatabase, query: str, values: dict[str, str]) -> object:
    async with database.sessions() as session:
        return await session.scalar(text(query), values)


class RequestStub:
    route = "/items/{id}"
    request_id = "request-7"
    has_budget = True

    def __init__(self) -> None:
        self.statements: dict[str, int] = {}
        self.statement_count = 0


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(1000)


def number(telemetry: Telemetry, name: str, *labels: str) -> Any:
    return telemetry.snapshot().families[f"scalekit_pool_{name}"].data.get(("primary", *labels), 0)


def observed(telemetry: Telemetry, name: str) -> int:
    _total, counts, _exemplars = number(telemetry, name)
    return int(sum(counts))


@pytest.fixture
async def database(url: str, telemetry: Telemetry) -> AsyncGenerator[PooledDatabase, None]:
    thresholds: dict[str, Any] = {"slow_query_threshold": "20ms", "leak_detection_threshold": "20ms"}
    async with opened(url, telemetry=telemetry, max_size=2, **thresholds) as database:
        await create(database, ITEMS)
        yield database


def warnings(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == "scalekit.pool"]


@pytest.mark.parametrize("run", [fetch_slowly, load_slowly], ids=["statements", "sessions"])
async def test_slow_statements_are_logged_without_their_values(
    database: PooledDatabase,
    run: Callable[[PooledDatabase, str, dict[str, str]], Awaitable[object]],
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if skips_sessions(database, run):
        return
    slow = "SELECT CAST(:secret AS VARCHAR(20)) AS a, 'hunter2' AS b FROM pg_sleep(0.03)"
    if database.dialect == "mysql":
        slow = "SELECT :secret AS a, \"hunter2\" AS b, SLEEP(0.03) FROM (SELECT 'it\\'s hunter2') AS c"
    if database.dialect == "sqlite":
        slow = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) "
            "SELECT :secret AS a, 'hunter2' AS b FROM n WHERE i = 1000000"
        )
    CURRENT_REQUEST.set(RequestStub())
    before = number(telemetry, "slow_queries")  # the statements that created the tables, on a busy machine
    assert await run(database, slow, {"secret": "hunter2"}) == "hunter2"
    async with database.connection() as connection:
        await connection.fetch_all(slow, {"secret": "hunter2"})
    statement = database.compiler.parser.parse(slow).fingerprint
    found = {statement, statement.replace("CAST(? AS", "CAST(?::VARCHAR AS")}  # as SQLAlchemy renders it for asyncpg
    records = [each for each in warnings(caplog) if getattr(each, "statement", "") in found]
    assert len(records) == 2
    for record in records:
        assert record.pool == "primary"
        assert record.request_id == "request-7"
        assert record.duration_ms >= 20
        assert record.rows == 1
    assert "hunter2" not in caplog.text
    assert number(telemetry, "slow_queries") == before + 2


@pytest.mark.parametrize(
    ("hold", "place"),
    [
        (PooledDatabase.transaction, "test_a_leaked_connection_is_logged_with_the_code_that_acquired_it"),
        (flushed, "flushed"),
    ],
    ids=["statements", "sessions"],
)
async def test_a_leaked_connection_is_logged_with_the_code_that_acquired_it(
    database: PooledDatabase,
    hold: Callable[[PooledDatabase], AbstractAsyncContextManager[object]],
    place: str,
    telemetry: Telemetry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if skips_sessions(database, hold):
        return
    CURRENT_REQUEST.set(RequestStub())
    async with hold(database):
        await wait_until(lambda: bool(warnings(caplog)))
    [record] = warnings(caplog)
    assert record.route == "/items/{id}"
    assert record.request_id == "request-7"
    assert record.acquired_at[0].startswith(f"{__file__}:")
    assert record.acquired_at[0].endswith(f" in {place}")
    assert "is held longer than 0.02s by /items/{id}; acquired at" in record.getMessage()
    assert not [place for place in record.acquired_at if "/scalekit_pool/" in place or "/asyncio/" in place]
    assert number(telemetry, "leaks") == 1
    async with database.connection():
        pass
    await wait_until_released(database)
    assert number(telemetry, "leaks") == 1


async def test_a_slow_batch_is_logged_without_a_request_id(
    database: PooledDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database._instrumentation.slow_query_threshold = 0.0
    CURRENT_REQUEST.set(RequestStub())
    await database.insert_soon(ITEMS, {"id": 1, "name": "a"})
    records = [record for record in warnings(caplog) if getattr(record, "statement", "").startswith("INSERT")]
    assert records
    assert not [record for record in records if hasattr(record, "request_id")]


async def test_metrics_count_statements_and_rows(database: PooledDatabase, telemetry: Telemetry, url: str) -> None:
    before = observed(telemetry, "query_duration_seconds")
    await database.insert_many(ITEMS, [{"id": n, "name": f"n{n}"} for n in range(250)])
    assert number(telemetry, "rows") == 0
    await database.fetch_all("SELECT * FROM items")
    await database.fetch_one("SELECT * FROM items")
    async with database.transaction():
        await database.fetch_one("SELECT * FROM items WHERE id < 0")
        await database.execute("UPDATE items SET price = 1")
    assert number(telemetry, "rows") == 251
    assert observed(telemetry, "query_duration_seconds") - before == 5
    assert [row async for row in database.iterate("SELECT * FROM items")]
    assert number(telemetry, "rows") == 501
    with pytest.raises(Exception, match="absent"):
        await database.fetch_all("SELECT * FROM absent")
    assert number(telemetry, "errors", "statement") == 1
    task = asyncio.create_task(database.execute("UPDATE items SET price = 2"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert number(telemetry, "errors", "cancelled") == 1
    await wait_until_released(database)
    assert number(telemetry, "size") == database.driver.writers.supplier.size == number(telemetry, "idle")
    async with database.transaction():
        assert number(telemetry, "in_use") == 1
        assert number(telemetry, "idle") == database.driver.writers.supplier.size - 1


@pytest.mark.parametrize("url", ORM, indirect=True)
async def test_metrics_count_statements_and_rows_of_sessions(database: PooledDatabase, telemetry: Telemetry) -> None:
    async with database.sessions() as session:
        assert await session.scalar(select(Item)) is None  # and the queries of the dialect about the server
        await session.rollback()
        rows, statements = number(telemetry, "rows"), observed(telemetry, "query_duration_seconds")
        session.add_all([Item(id=n, name=f"n{n}") for n in range(250)])
        await session.commit()
        assert number(telemetry, "rows") == rows
        inserted = observed(telemetry, "query_duration_seconds") - statements
        assert inserted < 10, "statements of many rows"
        assert len((await session.scalars(select(Item))).all()) == 250
        await session.execute(update(Item).values(price=1))
        assert number(telemetry, "in_use") == 1
        await session.commit()
        assert number(telemetry, "rows") == rows + 250
        assert observed(telemetry, "query_duration_seconds") - statements - inserted == 2
        with pytest.raises(Exception, match="absent"):
            await session.execute(text("SELECT * FROM absent"))
        assert number(telemetry, "errors", "statement") == 1


async def update_by_statement(database: PooledDatabase) -> None:
    await database.execute("UPDATE absent SET a = 1")


async def update_in_session(database: PooledDatabase) -> None:
    async with database.sessions() as session:
        await session.execute(text("UPDATE absent SET a = 1"))


@pytest.mark.parametrize("url", ORM, indirect=True)
@pytest.mark.parametrize("write", [update_by_statement, update_in_session])
async def test_connections_and_refusals_are_counted(
    url: str, telemetry: Telemetry, write: Callable[[PooledDatabase], Coroutine[Any, Any, None]]
) -> None:
    async with opened(url, telemetry=telemetry, max_size=1, max_waiting=1, acquire_timeout="50ms") as database:
        assert number(telemetry, "connections_opened") == 1
        async with database.sessions() as session:  # the first one queries the version of the server
            await session.execute(text("SELECT 1"))
        async with database.transaction():
            waiting = asyncio.create_task(write(database))
            await wait_until(lambda: number(telemetry, "waiting") == 1)
            with pytest.raises(Unavailable):
                await asyncio.create_task(write(database))
            with pytest.raises(Unavailable):
                await waiting
        assert number(telemetry, "refused", "full") == 1
        assert number(telemetry, "refused", "timeout") == 1
        assert observed(telemetry, "acquire_seconds") == 1
        await wait_until_released(database)
    assert number(telemetry, "connections_closed", "stopped") == 1


async def test_values_are_not_logged_at_level_debug(database: PooledDatabase, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    query, values = "SELECT CAST(:value AS VARCHAR(20))", {"value": "hunter2"}
    assert await database.fetch_val(query, values) == "hunter2"
    async with database.transaction():
        assert [row[0] for row in await database.fetch_all(query, values)] == ["hunter2"]
        assert [row[0] async for row in database.iterate(query, values)] == ["hunter2"]
    assert "hunter2" not in caplog.text
