"""Middleware, dependencies and messages take part in the transaction of a request with a key."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Request, Response
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from scalekit import create_app
from scalekit.contracts import DATABASE, QUEUE, SESSION, Database
from scalekit.testing import ReceivedResponse, request, running
from tests.idempotency.conftest import DATABASES
from tests.idempotency.shop import INSERT, TABLES

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", DATABASES)]

app = FastAPI()


@app.middleware("http")  # runs the application in a task of its own
async def pass_on(incoming: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    return await call_next(incoming)


async def committed(session: Annotated[AsyncSession, Depends(SESSION)]) -> AsyncGenerator[AsyncSession, None]:
    """Yield a session that is committed after the handler."""
    async with session.begin():
        yield session


@app.post("/orders")
async def order(incoming: Request, database: Annotated[Database, Depends(DATABASE)], fail: bool = False) -> str:
    async with database.transaction():
        await database.execute(INSERT, {"item": "tea"})
        await QUEUE(incoming).publish_after(database, "orders.placed", {"item": "tea"})
    if fail:
        raise RuntimeError("on purpose")
    return "placed"


@app.post("/by-session")
async def order_by_session(session: Annotated[AsyncSession, Depends(committed)], response: Response) -> str:
    await session.execute(text(INSERT), {"item": "tea"})
    return "placed"


class Service:
    """The running application, and the numbers of its orders and messages."""

    def __init__(self, database: Database, queue: Path, send: Callable[..., Awaitable[ReceivedResponse]]) -> None:
        self.database = database
        self.post = send
        self._queue = queue

    async def orders(self) -> list[int]:
        """Return the numbers of orders and of stored responses."""
        tables = ("orders", "scalekit_idempotency")
        return [await self.database.fetch_val(f"SELECT count(*) FROM {table}") for table in tables]

    async def messages(self) -> int:
        """Return the number of messages, once none is in the outbox."""
        while await self.database.fetch_val("SELECT count(*) FROM scalekit_queue_outbox"):
            await asyncio.sleep(0.01)
        with closing(sqlite3.connect(self._queue)) as connection:
            count: int = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
        return count


@pytest.fixture
async def service(kind: str, database_url: str, tmp_path: Path) -> AsyncGenerator[Service, None]:
    pool = {"url": database_url, **({} if database_url.startswith("sqlite") else {"sslmode": "disable"})}
    queue = {"url": f"sqlite:///{tmp_path}/queue.db", "outbox": True}
    host = create_app({"plugins": {"pool": pool, "queue": queue, "idempotency": {}}}, app=app)
    async with running(host) as state:
        database = host.context.get(DATABASE)
        await database.execute(TABLES[database.dialect])

        async def post(path: str) -> ReceivedResponse:
            return await request(host, path, method="POST", headers={"idempotency-key": "a"}, state=state)

        yield Service(database, tmp_path / "queue.db", post)


async def test_messages_are_committed_with_the_response(service: Service) -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        await service.post("/orders?fail=true")
    assert await service.orders() == [0, 0]
    for _ in range(2):
        assert (await service.post("/orders")).body == b'"placed"'
    assert await service.orders() == [1, 1]
    assert await service.messages() == 1


async def test_a_dependency_commits_with_the_response(service: Service) -> None:
    for _ in range(2):
        assert (await service.post("/by-session")).body == b'"placed"'
    assert await service.orders() == [1, 1]
