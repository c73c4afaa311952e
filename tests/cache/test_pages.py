from __future__ import annotations

from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import request, running
from scalekit_cache.pages import ADVISED_FROM, EXPLAINED

pytestmark = pytest.mark.anyio

COUNTER = {"calls": 0}
OPERATORS = {"operator_networks": ["127.0.0.1"]}


async def products(of: Request) -> PlainTextResponse:
    COUNTER["calls"] += 1
    headers = {"cache-control": "max-age=60", "cache-tag": "products"}
    return PlainTextResponse(str(COUNTER["calls"]), headers=headers)


def shop() -> Host:
    tables: dict[str, Any] = {"plugins": {"console": {}, "cache": {}}, "server": OPERATORS}
    return create_app(tables, app=Starlette(routes=[Route("/products", products)]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "https://shop.example/products?page=1"}, "purged path /products"),
        ({"url": "/prod*"}, None),
        ({}, "nothing to purge; fill in a tag or a URL"),
    ],
)
async def test_the_page_counts_hits_and_purges(values: dict[str, str], message: str | None) -> None:
    app = shop()
    async with running(app) as state:
        for _ in range(4):
            await request(app, "/products", state=state)
        page = orjson.loads((await request(app, "/-/cache.json", state=state)).body)
        facts, _, table, _ = page["blocks"]
        assert facts["facts"]["hit ratio"] == 0.75
        assert table["rows"][0][:2] == ["1", 3]
        before = COUNTER["calls"]
        headers = {"content-type": "application/json"}
        done = await request(
            app, "/-/cache/purge", method="POST", headers=headers, body=orjson.dumps(values), state=state
        )
        (result,) = orjson.loads(done.body)["results"]
        if message:
            assert result["message"] == message
        await request(app, "/products", state=state)
        assert COUNTER["calls"] - before == (1 if not result["failed"] else 0)


async def notices(app: Host, state: dict[str, Any]) -> list[str]:
    page = orjson.loads((await request(app, "/-/configuration.json", state=state)).body)
    return [block["text"] for block in page["blocks"] if block["type"] == "notice" and block["tone"] == "warning"]


@pytest.mark.parametrize(
    ("header", "reason", "advice"),
    [
        ({"cookie": "session=1"}, "cookie", "Responses are not stored because the requests have cookies."),
        ({"authorization": "Bearer x"}, "authorization", None),
    ],
)
async def test_reasons_are_counted_and_cookies_that_prevent_caching_are_advice(
    header: dict[str, str], reason: str, advice: str | None
) -> None:
    app = shop()
    async with running(app) as state:
        for _ in range(ADVISED_FROM - 1):
            await request(app, "/products", state=state, headers=header)
        assert await notices(app, state) == []
        await request(app, "/products", state=state, headers=header)
        assert await notices(app, state) == ([advice] if advice else [])
        page = orjson.loads((await request(app, "/-/cache.json", state=state)).body)
    assert page["blocks"][3]["rows"] == [[reason, EXPLAINED[reason], ADVISED_FROM]]


@pytest.mark.parametrize(("workers", "advised"), [(1, False), (4, True)])
async def test_a_cache_of_each_worker_is_advice(workers: int, advised: bool) -> None:
    cache = {"per_worker": True}
    app = create_app(
        {"plugins": {"console": {}, "cache": cache}, "server": {**OPERATORS, "workers": workers}}, app=Starlette()
    )
    async with running(app) as state:
        assert any("a cache of its own in memory" in text for text in await notices(app, state)) == advised
