"""Tables that sessions read and write: tags of stored responses, which a commit purges."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload, selectin_polymorphic, selectinload
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import DATABASE, SESSION
from scalekit.testing import request, running
from scalekit_cache import cached
from scalekit_pool.database import PooledDatabase
from tests.pool.harness import opened, wait_until_released
from tests.pool.orm.company import Account, Engineer, Manager, Person, Task, company, fill
from tests.pool.table_recorder import Recorder

pytestmark = pytest.mark.anyio

calls = itertools.count()


@cached(ttl="1h")
async def people(http: Request) -> JSONResponse:
    found = await SESSION(http).scalars(select(Engineer).options(selectinload(Engineer.tasks)))
    return JSONResponse([next(calls), [[each.name, *(task.text for task in each.tasks)] for each in found]])


@cached(ttl="1h")
async def accounts(http: Request) -> JSONResponse:
    account = await SESSION(http).get_one(Account, 1)
    return JSONResponse([next(calls), account.balance])


async def change(http: Request) -> JSONResponse:
    session = SESSION(http)
    (await session.get_one(Task, (1, 2))).text = http.path_params["text"]
    await session.flush()
    inside = [*(await session.scalars(select(Task.text)))]
    if http.path_params["end"] == "wait":
        http.app.state.flushed.set()
        await http.app.state.going_on.wait()
    await (session.rollback() if http.path_params["end"] == "rollback" else session.commit())
    return JSONResponse(inside)


app = Starlette(
    routes=[Route("/people", people), Route("/accounts", accounts), Route("/{text}/{end}", change, methods=["POST"])]
)


async def test_stored_responses_are_purged_by_commits_of_sessions_only(url: str) -> None:
    host = create_app({"plugins": {"pool": {"url": url}, "cache": {"tags_from_sql": True}}}, app=app)
    async with running(host) as state:

        async def get(path: str) -> bytes:
            return (await request(host, path, state=state)).body

        async def post(path: str) -> None:
            assert (await request(host, path, method="POST", state=state)).status == 200

        database: Any = host.context.get(DATABASE)
        await fill(database)
        first = {path: await get(path) for path in ("/people", "/accounts")}
        assert {path: await get(path) for path in first} == first
        assert b'["anna","plan","build"]' in first["/people"]
        await post("/lost/rollback")
        assert {path: await get(path) for path in first} == first
        app.state.flushed, app.state.going_on = asyncio.Event(), asyncio.Event()
        changing = asyncio.create_task(post("/test/wait"))
        await app.state.flushed.wait()
        if "memory" not in url:  # its only connection is in use
            assert {path: await get(path) for path in first} == first
        app.state.going_on.set()
        await changing
        assert b'["anna","plan","test"]' in await get("/people")
        assert await get("/accounts") == first["/accounts"]


@asynccontextmanager
async def recorded(url: str) -> AsyncGenerator[tuple[AsyncSession, Recorder, PooledDatabase], None]:
    recorder = Recorder(url)
    async with opened(url, observer=recorder, max_size=4) as database:
        async with company(database) as session:
            await session.scalar(select(Account.id))
            recorder.forget()
            yield session, recorder, database
        await wait_until_released(database)


READS = [
    (select(Person), {"people"}),
    (select(Engineer), {"people", "engineers"}),
    (select(Person).options(selectin_polymorphic(Person, [Engineer, Manager])), {"people", "engineers", "managers"}),
    (select(Person).options(joinedload(Person.tasks)), {"people", "tasks"}),
    (select(Person).options(selectinload(Person.tasks)), {"people", "tasks"}),
    (
        select(Task).where(Task.text.in_(["a", "b"]), Task.person_id.in_(select(Manager.id))),
        {"tasks", "people", "managers"},
    ),
    (select(Account).with_for_update(), {"accounts"}),
]


@pytest.mark.parametrize(("statement", "tables"), READS)
async def test_reads_of_objects_name_their_tables(url: str, statement: Any, tables: set[str]) -> None:
    async with recorded(url) as (session, recorder, _):
        (await session.scalars(statement)).unique().all()
        assert None not in recorder.read_tables
        assert frozenset().union(*(each or () for each in recorder.read_tables)) == tables
        await session.rollback()
        assert recorder.written == []


async def test_lazy_loads_and_refreshes_name_their_tables(url: str) -> None:
    async with recorded(url) as (session, recorder, _):
        anna = (await session.scalars(select(Engineer))).one()
        recorder.forget()
        await anna.awaitable_attrs.tasks
        assert recorder.read_tables == [frozenset({"tasks"})]
        await session.refresh(anna, ["language"])
        assert recorder.read_tables[1:] in ([frozenset({"people", "engineers"})], [frozenset({"engineers"})])


async def test_written_tables_are_reported_after_the_commit(url: str) -> None:
    async with recorded(url) as (session, recorder, _):
        session.add_all([Manager(name=f"name {number}", budget=1) for number in range(20)])
        await session.flush()
        async with session.begin_nested() as savepoint:
            await session.execute(update(Account).values(balance=1))
            await savepoint.rollback()
        assert recorder.written == []
        await session.commit()
        assert [set(each or ()) - {"accounts"} for each in recorder.written] == [{"people", "managers"}]
        recorder.forget()
        await session.execute(update(Account), [{"id": 1, "balance": 1, "version": 1}])
        await session.rollback()
        assert recorder.written == []
        await session.execute(text("UPDATE accounts SET balance = 5"))
        await session.commit()
        assert recorder.written == [frozenset({"accounts"})]
