"""The pool compared with asyncpg's pool, ``databases``, SQLAlchemy and sqlite3."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import databases
from sqlalchemy import Column, Float, Integer, MetaData, Table, Text, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from scalekit.telemetry import Telemetry
from scalekit_pool.config import PoolConfig
from scalekit_pool.database import PooledDatabase
from scalekit_pool.factory import DatabaseFactory
from tests.bench.operations import Case, Operation, compare
from tests.bench.row import Row
from tests.servers import Postgres

ITEMS = Table(
    "items", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text), Column("price", Float)
)
BY_ID = "SELECT id, name, price FROM items WHERE id = :id"
STORED = 1000
MANY = [{"name": f"item {number}", "price": number / 7} for number in range(10_000)]
TUPLES = [(row["name"], row["price"]) for row in MANY]
CONNECTIONS = 16

Opened = AbstractAsyncContextManager[Operation]


def key(number: int) -> int:
    return number % STORED + 1


@asynccontextmanager
async def pool(address: str) -> AsyncGenerator[PooledDatabase, None]:
    config = PoolConfig(min_size=CONNECTIONS, max_size=CONNECTIONS)
    async with DatabaseFactory(config, Telemetry(100)).open_any([address], "primary") as database:
        yield database


def on_pool(operation: Callable[[PooledDatabase, int], Awaitable[object]]) -> Callable[[str], Opened]:
    @asynccontextmanager
    async def opened(address: str) -> AsyncGenerator[Operation, None]:
        async with pool(address) as database:
            yield lambda number: operation(database, number)

    return opened


@asynccontextmanager
async def asyncpg_pool(address: str) -> AsyncGenerator[Operation, None]:
    async with asyncpg.create_pool(address, min_size=CONNECTIONS, max_size=CONNECTIONS) as connections:
        yield lambda number: connections.fetchrow("SELECT id, name, price FROM items WHERE id = $1", key(number))


@asynccontextmanager
async def plain_databases(address: str) -> AsyncGenerator[Operation, None]:
    options: dict[str, Any] = {} if address.startswith("sqlite") else {"min_size": CONNECTIONS, "max_size": CONNECTIONS}
    async with databases.Database(address, **options) as database:
        yield lambda number: database.fetch_one(BY_ID, {"id": key(number)})


@asynccontextmanager
async def sqlalchemy_engine(address: str) -> AsyncGenerator[Operation, None]:
    engine = create_async_engine(address.replace("postgresql", "postgresql+asyncpg"), pool_size=CONNECTIONS)
    query = text(BY_ID)

    async def operation(number: int) -> object:
        async with engine.connect() as connection:
            return (await connection.execute(query, {"id": key(number)})).first()

    yield operation
    await engine.dispose()


@asynccontextmanager
async def copy_by_hand(address: str) -> AsyncGenerator[Operation, None]:
    connection = await asyncpg.connect(address)
    yield lambda _: connection.copy_records_to_table("many", records=TUPLES, columns=("name", "price"))
    await connection.close()


@asynccontextmanager
async def sqlite3_executemany(address: str) -> AsyncGenerator[Operation, None]:
    connection = sqlite3.connect(urlsplit(address).path[1:], isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")

    async def operation(_: int) -> None:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO many (name, price) VALUES (?, ?)", TUPLES)
        connection.execute("COMMIT")

    yield operation
    connection.close()


INSERT = "INSERT INTO many (name, price) VALUES (:name, :price)"
CASES = {
    "asyncpg": Case("PostgreSQL, one row: asyncpg's pool", "postgres", asyncpg_pool),
    "pool": Case(
        "— DATABASE, text",
        "postgres",
        on_pool(lambda database, number: database.fetch_one(BY_ID, {"id": key(number)})),
        over="asyncpg",
        at_most=0.7,
    ),
    "core": Case(
        "— DATABASE, SQLAlchemy Core",
        "postgres",
        on_pool(lambda database, number: database.fetch_one(select(ITEMS).where(ITEMS.c.id == key(number)))),
        over="asyncpg",
    ),
    "databases": Case("— databases 0.9, text", "postgres", plain_databases, over="asyncpg"),
    "sqlalchemy": Case("— SQLAlchemy's async engine, text", "postgres", sqlalchemy_engine, over="asyncpg"),
    "pool_beside_sqlalchemy": Case(
        "— DATABASE, text, once more",
        "postgres",
        on_pool(lambda database, number: database.fetch_one(BY_ID, {"id": key(number)})),
        over="sqlalchemy",
        at_most=0.5,
    ),
    "sqlite_databases": Case("SQLite, one row: databases 0.9", "sqlite", plain_databases),
    "sqlite_pool": Case(
        "— DATABASE, text",
        "sqlite",
        on_pool(lambda database, number: database.fetch_one(BY_ID, {"id": key(number)})),
        over="sqlite_databases",
        at_most=0.15,
    ),
    "copy": Case("PostgreSQL, 10,000 rows: COPY by hand", "postgres", copy_by_hand, at_once=1, measured="wall"),
    "insert_many": Case(
        "— insert_many",
        "postgres",
        on_pool(lambda database, _: database.insert_many("many", MANY)),
        over="copy",
        at_most=1.5,
        at_once=1,
        measured="wall",
    ),
    "executemany": Case(
        "SQLite, 10,000 rows: sqlite3's executemany", "sqlite", sqlite3_executemany, at_once=1, measured="wall"
    ),
    "sqlite_insert_many": Case(
        "— insert_many",
        "sqlite",
        on_pool(lambda database, _: database.insert_many("many", MANY)),
        over="executemany",
        at_most=2.0,
        at_once=1,
        measured="wall",
    ),
    "single": Case(
        "PostgreSQL, 64 insert a row each: execute",
        "postgres",
        on_pool(lambda database, number: database.execute(INSERT, MANY[number % 1000])),
        at_once=64,
        measured="wall",
    ),
    "soon": Case(
        "— insert_soon",
        "postgres",
        on_pool(lambda database, number: database.insert_soon("many", MANY[number % 1000])),
        over="single",
        at_most=1 / 3,
        at_once=64,
        measured="wall",
    ),
}


def measure(rounds: int) -> list[Row]:
    """Return the rows."""
    with TemporaryDirectory() as folder, Postgres("max_connections=200") as postgres:
        sqlite = f"sqlite:///{folder}/bench.db"
        for statement in (
            "CREATE TABLE items (id int PRIMARY KEY, name text, price float)",
            f"INSERT INTO items SELECT n, 'item ' || n, n / 7.0 FROM generate_series(1, {STORED}) n",
            "CREATE UNLOGGED TABLE many (name text, price float)",
        ):
            postgres.sql(statement)
        _prepare(urlsplit(sqlite).path[1:])
        return compare(__name__, "pool", CASES, {"postgres": postgres.url, "sqlite": sqlite}, rounds)


def _prepare(file: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE items (id int PRIMARY KEY, name text, price float)")
        connection.executemany("INSERT INTO items VALUES (?, ?, ?)", [(n, f"item {n}", n / 7) for n in range(1, 1001)])
        connection.execute("CREATE TABLE many (name text, price float)")
    connection.close()
