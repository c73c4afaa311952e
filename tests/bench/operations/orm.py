"""ORM sessions on the pool compared with SQLAlchemy's own engine on asyncpg."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.bench.operations import Case, Operation, compare
from tests.bench.operations.database import CONNECTIONS, STORED, key, pool
from tests.bench.row import Row
from tests.servers import Postgres

FLUSHED = 1000

NewSession = Callable[[], AsyncSession]
Opened = AbstractAsyncContextManager[Operation]


class Model(DeclarativeBase):
    """The base of the models."""


class Item(Model):
    """A row to read."""

    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[float]


class Added(Model):
    """A row to insert."""

    __tablename__ = "many"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[float]


async def read(new_session: NewSession, number: int) -> None:
    """Load one object in a session of its own."""
    async with new_session() as session:
        await session.get_one(Item, key(number))


async def flush(new_session: NewSession, number: int) -> None:
    """Insert objects in one flush, and commit."""
    async with new_session() as session:
        session.add_all(Added(name=f"item {place}", price=place / 7) for place in range(FLUSHED))
        await session.commit()


def ours(operation: Callable[[NewSession, int], Awaitable[None]]) -> Callable[[str], Opened]:
    @asynccontextmanager
    async def opened(address: str) -> AsyncGenerator[Operation, None]:
        async with pool(address) as database:
            yield lambda number: operation(database.sessions, number)

    return opened


def sqlalchemy(operation: Callable[[NewSession, int], Awaitable[None]]) -> Callable[[str], Opened]:
    @asynccontextmanager
    async def opened(address: str) -> AsyncGenerator[Operation, None]:
        engine = create_async_engine(address.replace("postgresql", "postgresql+asyncpg"), pool_size=CONNECTIONS)
        sessions = async_sessionmaker(engine, expire_on_commit=False)
        yield lambda number: operation(sessions, number)
        await engine.dispose()

    return opened


CASES = {
    "sqlalchemy_read": Case(
        "PostgreSQL, one object by primary key: SQLAlchemy's session", "postgres", sqlalchemy(read)
    ),
    "read": Case("— a session of the pool", "postgres", ours(read), over="sqlalchemy_read", at_most=0.8),
    "sqlalchemy_flush": Case(
        "PostgreSQL, 1000 objects in one flush: SQLAlchemy's session",
        "postgres",
        sqlalchemy(flush),
        at_once=1,
        measured="wall",
    ),
    "flush": Case(
        "— a session of the pool",
        "postgres",
        ours(flush),
        over="sqlalchemy_flush",
        at_most=1.0,
        at_once=1,
        measured="wall",
    ),
}


def measure(rounds: int) -> list[Row]:
    """Return the rows."""
    with Postgres("max_connections=200") as postgres:
        for statement in (
            "CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, price float NOT NULL)",
            f"INSERT INTO items SELECT n, 'item ' || n, n / 7.0 FROM generate_series(1, {STORED}) n",
            "CREATE UNLOGGED TABLE many (id serial PRIMARY KEY, name text NOT NULL, price float NOT NULL)",
        ):
            postgres.sql(statement)
        return compare(__name__, "pool", CASES, {"postgres": postgres.url}, rounds)
