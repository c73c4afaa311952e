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

pytestmark = pytest.mark.anyio

COUNTER = {"calls": 0}


async def products(of: Request) -> PlainTextResponse:
    COUNTER["calls"] += 1
    headers = {"cache-control": "max-age=60", "cache-tag": "products"}
    return PlainTextResponse(str(COUNTER["calls"]), headers=headers)


def shop() -> Host:
    tables: dict[str, Any] = {"plugins": {"console": {}, "cache": {}}, "server": {"operator_networks": ["127.0.0.1"]}}
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
        facts, _, table = page["blocks"]
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
