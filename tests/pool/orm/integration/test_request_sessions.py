"""SESSION in FastAPI: one session for each request, closed however the request ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
from fastapi import Depends, FastAPI, Request, WebSocket
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from scalekit import ResourceError, create_app
from scalekit.contracts import DATABASE, SESSION
from scalekit.host import Host
from scalekit.testing import request, running
from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import all_released, wait_until_released
from tests.pool.orm.shop import Author, create_tables

pytestmark = pytest.mark.anyio

RequestSession = Annotated[AsyncSession, Depends(SESSION)]
app = FastAPI()


@app.post("/authors/{name}")
async def add(name: str, session: RequestSession) -> int:
    session.add(author := Author(name=name))
    await session.commit()
    return author.id


@app.get("/authors")
async def names(session: RequestSession) -> list[str]:
    return [*(await session.scalars(select(Author.name).order_by(Author.name)))]


@app.get("/same")
async def same(http_request: Request, session: RequestSession) -> bool:
    return SESSION(http_request) is session


@app.get("/uncommitted/{end}")
async def uncommitted(end: str, session: RequestSession) -> None:
    session.add(Author(name="uncommitted"))
    await session.flush()
    if end == "error":
        raise ZeroDivisionError
    if end == "never":
        app.state.started.set()
        await asyncio.Event().wait()


@app.get("/late")
async def late(http_request: Request) -> None:
    async def use() -> None:
        await app.state.finished.wait()
        SESSION(http_request)

    app.state.task = asyncio.create_task(use())


@app.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    session = SESSION(websocket)
    session.add(Author(name="socket"))
    await session.flush()
    await websocket.send_json(SESSION(websocket) is session)
    await websocket.close()


@asynccontextmanager
async def served(url: str) -> AsyncGenerator[tuple[Host, Any, PooledDatabase], None]:
    host = create_app({"plugins": {"pool": {"url": url}}}, app=app)
    async with running(host) as state:
        database: Any = host.context.get(DATABASE)
        async with database.sessions() as session:
            await create_tables(session)
        yield host, state, database


async def test_each_request_has_one_session(url: str) -> None:
    async with served(url) as (host, state, database):
        assert (await request(host, "/authors/anna", method="POST", state=state)).body == b"1"
        assert (await request(host, "/authors", state=state)).body == b'["anna"]'
        assert (await request(host, "/same", state=state)).body == b"true"
        await wait_until_released(database)


@pytest.mark.parametrize("end", ["response", "error", "never"])
async def test_the_session_is_closed_however_the_request_ends(url: str, end: str) -> None:
    async with served(url) as (host, state, database):
        app.state.started = asyncio.Event()
        task = asyncio.create_task(request(host, f"/uncommitted/{end}", state=state))
        if end == "never":
            await app.state.started.wait()
            assert not all_released(database)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await wait_until_released(database)
        assert (await request(host, "/authors", state=state)).body == b"[]"


async def test_a_request_that_has_ended_gives_no_new_session(url: str) -> None:
    async with served(url) as (host, state, _):
        app.state.finished = asyncio.Event()
        await request(host, "/late", state=state)
        app.state.finished.set()
        with pytest.raises(ResourceError, match=r"this request has ended.*DATABASE.sessions\(\)"):
            await app.state.task


async def test_a_websocket_has_one_session_which_is_closed_with_it(url: str) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with served(url) as (host, state, database):
        scope = {"type": "websocket", "path": "/socket", "headers": [], "query_string": b"", "state": state}
        await host({**scope, "client": ("127.0.0.1", 1), "scheme": "ws", "subprotocols": []}, receive, send)
        assert sent[1]["text"] == "true"
        await wait_until_released(database)
        assert (await request(host, "/authors", state=state)).body == b"[]"


@pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)
async def test_two_applications_of_a_process_use_their_own_databases(url: str, tmp_path: Path) -> None:
    urls = [url, f"sqlite:///{tmp_path}/other.db"]
    hosts = [create_app({"plugins": {"pool": {"url": each, "sslmode": "disable"}}}, app=app) for each in urls]
    async with running(hosts[0]) as first, running(hosts[1]) as second:
        states = [first, second]
        for host in hosts:
            async with host.context.get(DATABASE).sessions() as session:
                await create_tables(session)

        async def add_to(number: int, count: int) -> None:
            for each in range(count):
                name = f"{'ab'[number]}{each}"
                await request(hosts[number], f"/authors/{name}", method="POST", state=states[number])

        await asyncio.gather(add_to(0, 5), add_to(1, 7))
        found = [
            orjson.loads((await request(host, "/authors", state=state)).body)
            for host, state in zip(hosts, states, strict=True)
        ]
    assert found == [[f"a{each}" for each in range(5)], [f"b{each}" for each in range(7)]]
