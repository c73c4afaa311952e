"""Limits in PostgreSQL: locks, transactions of requests, expired counters, and privileges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit import Rate
from scalekit.contracts import DATABASE, LIMITS
from scalekit.testing import request, running
from scalekit_ratelimit import database_limiter as module
from scalekit_ratelimit.database_limiter import DatabaseLimiter
from scalekit_ratelimit.limits import Hit, make_limit
from scalekit_ratelimit.shared_limiter import PendingHits
from tests.ratelimit.client import policy
from tests.ratelimit.shared_limiters import limited_host, open_shared, read_states, states_of
from tests.servers import Postgres

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

HOUR = make_limit("hour", Rate("1000/1h"))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture
def url(server: Postgres) -> str:
    server.sql("DROP TABLE IF EXISTS scalekit_ratelimit")
    return server.url


@asynccontextmanager
async def open_limiter(url: str) -> AsyncGenerator[DatabaseLimiter, None]:
    async with open_shared(url) as limiter:
        assert isinstance(limiter, DatabaseLimiter)
        yield limiter


async def test_hits_on_the_same_keys_in_any_order_do_not_wait_for_each_other(url: str) -> None:
    keys = [f"client {number}" for number in range(200)]
    orders = [keys, keys[::-1], keys[100:] + keys[:100]]
    async with open_limiter(url) as first, open_limiter(url) as second, open_limiter(url) as third:
        for _ in range(20):
            pending = [PendingHits([Hit(HOUR, key, 1, False) for key in order]) for order in orders]
            for limiter, hits in zip((first, second, third), pending, strict=True):
                limiter.send_hits(hits)
            for limiter, hits in zip((first, second, third), pending, strict=True):
                await read_states(limiter, hits)  # raises for a deadlock
        states = await states_of(first, [Hit(HOUR, key, 0, False) for key in keys])
    assert {state.remaining for state in states.values()} == {1000 - 60}


async def test_hits_belong_neither_to_the_transaction_of_a_handler_nor_to_its_query_budget(url: str) -> None:
    async def handler(incoming: Request) -> Response:
        database = DATABASE(incoming)
        try:
            async with database.outer_transaction():
                await database.execute("SELECT 1")
                for _ in range(5):
                    await LIMITS(incoming).hit("name", "ada")
                raise LookupError
        except LookupError:
            left = await LIMITS(incoming).remaining("name", "ada")
        async with database.outer_transaction():
            await database.execute("SELECT 1")
            await LIMITS(incoming).reset("name", "ada")
        return PlainTextResponse(f"{left} {await LIMITS(incoming).remaining('name', 'ada')}")

    app = Starlette(routes=[Route("/", handler)])
    table = {"policies": [policy("name", "10/1h", key="application")], "on_error": "refuse"}
    limited = limited_host(url, table, app, {"query_budget": {"repeat": 2, "statements": 2, "strict": True}})
    async with running(limited) as state:
        response = await request(limited, "/", state=state)
    assert (response.status, response.body) == (200, b"5 10")


async def test_expired_counters_are_removed_page_by_page(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    brief = make_limit("brief", Rate("1/1ms"))
    async with open_limiter(url) as limiter:
        await states_of(limiter, [Hit(brief, f"old {number}", 1, False) for number in range(5)])
        await states_of(limiter, [Hit(HOUR, f"old {number}", 1, False) for number in (1, 3)])
        while not all(
            state.reset == 0 for state in (await states_of(limiter, [Hit(brief, "old 4", 0, False)])).values()
        ):
            await asyncio.sleep(0.002)
        pages, after = 0, ""
        while (after := await limiter.remove_expired(after)) or not pages:
            pages += 1
        left = await limiter._database.fetch_all("SELECT key FROM scalekit_ratelimit ORDER BY key")
    assert [row[0] for row in left] == ["old 1:hour:g", "old 3:hour:g"]
    assert pages == 3


async def test_expired_counters_that_are_in_use_are_left_to_the_next_removal(url: str) -> None:
    brief = make_limit("brief", Rate("1/1ms"))
    async with open_limiter(url) as limiter:
        await states_of(limiter, [Hit(brief, key, 1, False) for key in "ab"])
        await asyncio.sleep(0.002)
        database = limiter._database
        async with database.connection() as session, session.transaction():
            await session.execute("SELECT 1 FROM scalekit_ratelimit WHERE key LIKE 'a%' FOR UPDATE")
            await asyncio.create_task(limiter.remove_expired())
            assert await session.fetch_val("SELECT string_agg(key, ' ') FROM scalekit_ratelimit") == "a:brief:g"


async def test_existing_tables_need_no_privilege_to_create_them(url: str, server: Postgres) -> None:
    async with running(limited_host(url, {"default": "5/1h"})):
        pass
    server.sql("CREATE ROLE app LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
    app = limited_host(url.replace("postgres@", "app@"), {"default": "5/1h", "on_error": "refuse"})
    async with running(app) as state:
        responses = [await request(app, "/", state=state) for _ in range(6)]
    assert [response.status for response in responses] == [200] * 5 + [429]


async def test_the_table_is_created_once_the_database_is_available(server: Postgres, url: str) -> None:
    await asyncio.to_thread(server.kill)
    try:
        app = limited_host(url, {"default": "5/1h", "retry_interval": "50ms"})
        async with running(app) as state:
            assert (await request(app, "/", state=state)).status == 200
            await asyncio.to_thread(server.start)
            for condition in ("to_regclass('scalekit_ratelimit') IS NOT NULL", "count(*) > 0 FROM scalekit_ratelimit"):
                while await asyncio.to_thread(server.sql, f"SELECT {condition}") != "t":
                    await request(app, "/", state=state)
    finally:
        if server.process.poll() is not None:
            await asyncio.to_thread(server.start)
