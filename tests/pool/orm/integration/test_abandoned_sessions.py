"""Sessions that end in another thread, or without an end, or while another task commits."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.util.concurrency import await_
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import DATABASE, SESSION
from scalekit.testing import request, running
from scalekit_pool.database import PooledDatabase
from tests.pool.conftest import POSTGRES
from tests.pool.harness import all_released, wait_until_released
from tests.pool.orm.shop import Author, shop

pytestmark = pytest.mark.anyio

NUMBERS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i FROM n")
UPDATE = text("UPDATE authors SET name = 'uncommitted'")


async def test_a_session_closed_in_a_thread_releases_its_connection(database: PooledDatabase) -> None:
    async with shop(database) as session:
        await session.execute(UPDATE)
        assert not all_released(database)
        await asyncio.to_thread(session.sync_session.close)
        await wait_until_released(database)
        assert await session.scalar(select(Author.name)) == "anna"


@pytest.mark.parametrize("url", ["file", POSTGRES], indirect=True)
async def test_a_session_closed_in_a_thread_releases_the_connection_of_a_stream(database: PooledDatabase) -> None:
    async with shop(database) as session:
        rows = await session.stream_scalars(NUMBERS)
        assert not all_released(database)
        await asyncio.to_thread(session.sync_session.close)
        await wait_until_released(database)
        await rows.close()


@pytest.mark.filterwarnings("ignore:The garbage collector")
async def test_a_lost_session_collected_in_a_thread_releases_its_connection(database: PooledDatabase) -> None:
    async def lose() -> None:
        lost: Any = database.sessions()
        await lost.execute(UPDATE)
        lost.itself = lost  # only the garbage collector finds it

    async with shop(database) as session:
        gc.collect()
        gc.disable()
        try:
            await asyncio.create_task(lose())
            assert not all_released(database)
            await asyncio.to_thread(gc.collect)
        finally:
            gc.enable()
        await wait_until_released(database)
        assert await session.scalar(select(Author.name)) == "anna"


async def test_a_request_may_end_while_another_task_commits_its_session(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    may_commit, commits, tasks = asyncio.Event(), asyncio.Event(), []

    async def accept(http_request: Request) -> Response:
        def hold(_: object) -> None:
            commits.set()
            await_(may_commit.wait())

        session = SESSION(http_request)
        session.add(Author(name="bob"))
        await session.flush()
        event.listen(session.sync_session, "before_commit", hold)
        tasks.append(asyncio.create_task(session.commit()))
        await commits.wait()
        return Response("accepted", 202)

    app = Starlette(routes=[Route("/accepted", accept)])
    host = create_app({"plugins": {"pool": {"url": url}}}, app=app)
    async with running(host) as state:
        database: Any = host.context.get(DATABASE)
        async with shop(database) as session:
            assert (await request(host, "/accepted", state=state)).status == 202
            assert [(each.levelname, each.message.partition(":")[0]) for each in caplog.records] == [
                ("WARNING", "/accepted ended while another task commits its session, or rolls it back")
            ]
            may_commit.set()
            await tasks[0]
            await wait_until_released(database)
            assert [*(await session.scalars(select(Author.name).order_by(Author.name)))] == ["anna", "bob"]
