from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import request, running
from scalekit_cache import stored_counts
from scalekit_cache.codec import HttpCodec
from tests.cache.conftest import Shared
from tests.servers import Redis

pytestmark = pytest.mark.anyio


async def article(of: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * 1000)


def library(url: str = "memory:") -> Host:
    policies = [
        {"path": "/articles/**", "ttl": "1m", "tags": ["articles"]},
        {"path": "/pages/**", "ttl": "1m", "tags": ["articles", "pages"]},
    ]
    tables: dict[str, Any] = {
        "plugins": {"console": {}, "cache": {"url": url, "policies": policies}},
        "server": {"operator_networks": ["127.0.0.1"]},
    }
    return create_app(tables, app=Starlette(routes=[Route("/articles/{id}", article), Route("/pages/{id}", article)]))


async def blocks_of(app: Host, state: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    page = await request(app, f"/-/cache.json?{urlencode(query)}", state=state)
    found: list[dict[str, Any]] = orjson.loads(page.body)["blocks"]
    return found


def by_route(blocks: list[dict[str, Any]]) -> tuple[str, dict[str, list[Any]]]:
    (table,) = [block for block in blocks if block.get("title", "").startswith("Stored by route")]
    return table["title"], {row[0]: row[1:] for row in table["rows"]}


def tagged(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [block["facts"] for block in blocks if block.get("title", "").startswith("Items with the tag")]
    facts: dict[str, Any] = found
    return facts


async def until(app: Host, state: dict[str, Any], condition: Callable[[dict[str, list[Any]]], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition(by_route(await blocks_of(app, state))[1]):
            await asyncio.sleep(0.01)


async def test_responses_in_memory_are_counted_by_route_and_tag() -> None:
    app = library()
    async with running(app) as state:
        for target in ("/articles/1", "/articles/2", "/pages/1"):
            await request(app, target, state=state)
        title, rows = by_route(await blocks_of(app, state))
        assert title == "Stored by route"
        assert list(rows) == ["/articles/{id}", "/pages/{id}"]
        count, size, *shared = rows["/articles/{id}"]
        assert (count, shared) == (2, [None, None])
        assert 2000 < size < 6000
        blocks = await blocks_of(app, state, tag="articles")
        assert tagged(blocks) == {"memory of worker 1": 3}
        assert tagged(await blocks_of(app, state, tag="pages")) == {"memory of worker 1": 1}
        (form,) = [each for each in blocks if each["type"] == "action_form" and each["values"]]
        headers = {"content-type": "application/json"}
        body = orjson.dumps(form["values"])
        await request(app, "/-/cache/purge", method="POST", headers=headers, body=body, state=state)
        assert tagged(await blocks_of(app, state, tag="articles")) == {"memory of worker 1": 0}


async def test_responses_in_the_shared_store_are_counted_in_another_process(shared: Shared) -> None:
    first, second = library(shared.url), library(shared.url)
    async with running(first) as state, running(second) as other:
        for target in ("/articles/1", "/articles/2", "/pages/1"):
            await request(first, target, state=state)
        await until(second, other, lambda rows: sum(row[2] for row in rows.values()) == 3)
        title, rows = by_route(await blocks_of(second, other))
        assert title == "Stored by route"
        count, size, shared_count, shared_size = rows["/articles/{id}"]
        assert (count, size, shared_count) == (0, 0, 2)
        assert 2000 < shared_size < 6000
        assert tagged(await blocks_of(second, other, tag="articles")) == {"memory of worker 1": 0, "shared store": 3}


async def test_a_sample_says_that_it_is_one(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_counts, "MAX_SAMPLED", 2)
    monkeypatch.setattr(stored_counts, "MAX_SHARED_TAGGED", 1)
    monkeypatch.setattr(stored_counts, "MAX_EXAMINED", 1)
    monkeypatch.setattr(stored_counts, "MAX_TAGGED", 1)
    app = library(shared.url)
    async with running(app) as state:
        for number in range(4):
            await request(app, f"/articles/{number}", state=state)
            await request(app, f"/articles/{number}", state=state)
        await until(app, state, lambda rows: sum(row[2] for row in rows.values()) > 0)
        title, _ = by_route(await blocks_of(app, state))
        assert title.startswith("Stored by route; of the shared store a sample of about 2 items")
        assert str(tagged(await blocks_of(app, state, tag="articles"))["shared store"]).startswith("at least ")


@pytest.mark.needs("redis")
async def test_a_shared_store_that_is_unavailable_is_reported() -> None:
    with Redis() as server:
        app = library(server.url)
        async with running(app) as state:
            await request(app, "/articles/1", state=state)
            server.stop()
            blocks = await blocks_of(app, state, tag="articles")
    notices = [block["text"] for block in blocks if block["type"] == "notice"]
    assert sum(text.startswith("The shared store cannot be counted: ") for text in notices) == 2


@pytest.mark.parametrize("head", [b"", b"SKc3", b"x" * 200, b"SKc3" + b"\xff" * 300])
def test_foreign_data_has_no_route(head: bytes) -> None:
    assert HttpCodec().route_and_size(head) is None
