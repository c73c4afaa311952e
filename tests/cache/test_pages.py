from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import CACHE, SubjectIdentifier
from scalekit.host import Host
from scalekit.http.route_template import RouteTemplates
from scalekit.testing import request, running
from scalekit_cache.credentials import CredentialsCache
from scalekit_cache.pages import ADVISED_FROM, EXPLAINED
from scalekit_cache.plugin import FILTER
from scalekit_cache.policies import CachePolicy
from scalekit_cache.route_outcomes import MAX_ROUTES, OTHER, RouteOutcomes
from scalekit_cache.stored_response import StoredResponse
from scalekit_cache.url_lookup import UrlLookup
from scalekit_caching import MemoryStore
from tests.cache.conftest import Shared
from tests.cache.harness import CacheHarness, Origin
from tests.servers import Redis

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
        facts, _, table, *_ = page["blocks"]
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


async def article(of: Request) -> PlainTextResponse:
    headers = {
        "cache-control": "public, max-age=60, stale-while-revalidate=30",
        "vary": "accept-language, x-api-key",
        "etag": '"v1"',
        "content-language": of.headers.get("accept-language", "en"),
    }
    return PlainTextResponse("the body", headers=headers)


async def uncached(of: Request) -> PlainTextResponse:
    return PlainTextResponse("changes")


def library(url: str = "memory:") -> Host:
    """Return an application with one policy and the cache at *url*."""
    policy = {"path": "/articles/**", "ttl": "5m", "tags": ["articles"], "query_params": ["page"]}
    tables: dict[str, Any] = {
        "plugins": {"console": {}, "cache": {"url": url, "policies": [policy]}},
        "server": OPERATORS,
    }
    routes = [Route("/articles/{id}", article), Route("/now", uncached)]
    return create_app(tables, app=Starlette(routes=routes))


async def blocks_of(app: Host, state: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    page = await request(app, f"/-/cache.json?{urlencode(query)}", state=state)
    found: list[dict[str, Any]] = orjson.loads(page.body)["blocks"]
    return found


def titled(blocks: list[dict[str, Any]], title: str) -> dict[str, Any]:
    return next(block for block in blocks if block.get("title", "").startswith(title))


async def stored(app: Host, state: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    table = titled(await blocks_of(app, state, **query), "Stored responses")
    titles = [column["title"] for column in table["columns"]]
    return [dict(zip(titles, row, strict=True)) for row in table["rows"]]


async def test_outcomes_are_counted_by_route() -> None:
    app = library()
    async with running(app) as state:
        for target in ("/articles/1", "/articles/1", "/articles/2", "/articles/2", "/now", "/nothing"):
            await request(app, target, state=state)
        await request(app, "/articles/1", state=state, headers={"cache-control": "no-store"})
        routes = titled(await blocks_of(app, state), "Routes")
    rows = {row[0]: row[1:] for row in routes["rows"]}
    assert rows["/articles/{id}"] == [5, 0.4, 2, 0, 0, 0, 2, 1]
    assert rows["/now"] == [1, 0.0, 0, 0, 0, 0, 0, 1]
    assert rows["no route"] == [1, 0.0, 0, 0, 0, 0, 0, 1]


async def test_a_request_that_waits_for_another_has_its_route() -> None:
    harness = CacheHarness(PlainTextResponse(""))
    gate = asyncio.Event()

    async def slow(of: Request) -> PlainTextResponse:
        await gate.wait()
        return PlainTextResponse("", headers={"cache-control": "max-age=60"})

    routes = harness.metrics.routes = RouteOutcomes(RouteTemplates().of)
    harness.serve(Starlette(routes=[Route("/slow/{id}", slow)]))
    tasks = [asyncio.create_task(harness.fetch("/slow/1")) for _ in range(3)]
    for _ in range(10):
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert routes.counts == {"/slow/{id}": {"miss": 1, "collapsed": 2}}


def test_the_number_of_routes_is_bounded() -> None:
    routes = RouteOutcomes(lambda scope: scope["path"])
    for number in range(MAX_ROUTES + 50):
        routes.add({"path": f"/{number}"}, "miss")
    assert len(routes.counts) == MAX_ROUTES + 1
    assert routes.counts[OTHER] == {"miss": 50}


async def test_outcomes_by_route_are_not_recorded_without_the_console() -> None:
    app = create_app({"plugins": {"cache": {}}}, app=Starlette(routes=[Route("/products", products)]))
    async with running(app) as state:
        await request(app, "/products", state=state)
        cache = app.context.get(FILTER).cache
        assert cache is not None
        assert cache.metrics.routes is None


async def test_a_lookup_shows_the_variants_in_memory_and_changes_nothing() -> None:
    app = library()
    secret = {"x-api-key": "s3cret-key", "cookie": "sid=s3cret-cookie"}
    async with running(app) as state:
        for headers in ({"accept-language": "de"}, {"accept-language": "en", **secret}):
            await request(app, "/articles/1?page=2&utm=mail", state=state, headers={"host": "shop.example", **headers})
        cache = app.context.get(FILTER).cache
        assert cache is not None
        assert isinstance(cache.store, MemoryStore)
        before = titled(await blocks_of(app, state), "Workers")
        for url in ("http://shop.example/articles/1?page=2", "/articles/1?utm=x&page=2"):
            rows = await stored(app, state, url=url)
            assert [row["request headers"] for row in rows] == [
                "accept-language: de, without x-api-key",
                "accept-language: en, with x-api-key",
            ]
        page = await request(app, f"/-/cache.json?{urlencode({'url': url})}", state=state)
        assert b"s3cret" not in page.body
        assert b"the body" not in page.body
        assert titled(await blocks_of(app, state), "Workers") == before
        assert not any(item.visited for item in cache.store.table.items.values() if isinstance(item, StoredResponse))
        assert await stored(app, state, url="https://shop.example/articles/1?page=2") == []
        assert await stored(app, state, url="/articles/1?page=2", host="other.example") == []
        await app.context.get(CACHE).purge(tag="articles")
        assert await stored(app, state, url=url) == []
        assert len(cache.store.table.items) == before["rows"][0][7]  # a lookup does not delete what was purged
    row = rows[0]
    assert row["state"]["text"] == "fresh"
    assert (row["store"], row["host"], row["route"], row["for"]) == (
        "worker 1",
        "http://shop.example",
        "/articles/{id}",
        "shared",
    )
    assert (row["status"], row["body"], row["etag"], row["tags"]) == (200, 8, '"v1"', "articles")
    assert row["content type"] == "text/plain; charset=utf-8"
    assert row["stale until"] - row["fresh until"] == pytest.approx(30)


async def test_a_lookup_reads_the_shared_store_and_stores_nothing_in_the_process(shared: Shared) -> None:
    first, second = library(shared.url), library(shared.url)
    url = "http://shop.example/articles/1?page=2"
    async with running(first) as state, running(second) as other:
        rows: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            while [row["store"] for row in rows] != ["worker 1"] * 2 + ["shared store"]:
                for language in ("de", "en"):  # an item is in memory once it was read after its write
                    headers = {"host": "shop.example", "accept-language": language}
                    await request(first, "/articles/1?page=2", state=state, headers=headers)
                rows = await stored(first, state, url=url, **{"accept-language": "de"})
        assert rows[2]["request headers"] == "accept-language: de, without x-api-key"
        (row,) = await stored(second, other, url=url, **{"accept-language": "en"})
        assert (row["store"], row["status"], row["tags"]) == ("shared store", 200, "articles")
        assert titled(await blocks_of(second, other), "Workers")["rows"][0][1:10] == [0, 0, 0, 0, 0, 0, 0, 0, 0.0]
        await second.context.get(CACHE).purge(tag="articles")
        assert await stored(second, other, url=url, **{"accept-language": "en"}) == []


async def test_the_lookup_shows_a_user_that_the_cache_knows() -> None:
    class User:
        is_authenticated = True
        subject_identifier = SubjectIdentifier("https://login.example", "alice")

    policy = CachePolicy(ttl=60, by_identity=True)
    harness = CacheHarness(Origin(), [("/**", policy)])
    await harness.fetch("/account", user=User(), auth=None)
    await harness.fetch("/account")
    found = UrlLookup(harness.cache, {"url": "/account"}).in_memory()
    assert [each["user"] for each in found] == ["https://login.example / alice", "requests without credentials"]
    harness.cache.credentials = CredentialsCache(True)
    assert UrlLookup(harness.cache, {"url": "/account"}).in_memory()[0]["user"] == "one user"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("products", "unknown URL; write a path such as /products?page=1, or https://shop.example/products"),
        ("ftp://shop.example/", "unknown URL; write a path such as /products?page=1, or https://shop.example/products"),
        ("http://[", "Invalid IPv6 URL"),
        ("/<script>alert(1)</script>?<b>\r\nx: y\0%zz", None),
        ("//evil.example/..%2f%00;x", None),
        ("/käse?größe=\u20ac#top", None),
        ("http://user:pass@shop.example:x/a", None),
    ],
)
async def test_hostile_urls_are_looked_up_or_refused(url: str, message: str | None) -> None:
    app = library()
    async with running(app) as state:
        blocks = await blocks_of(app, state, url=url, host="a\r\nb: <i>")
        html = await request(app, f"/-/cache?{urlencode({'url': url})}", state=state, headers={"accept": "text/html"})
    assert html.status == 200
    assert b"<script>alert" not in html.body
    assert [block["text"] for block in blocks if block["type"] == "notice"] == ([message] if message else [])
    if message is None:
        assert titled(blocks, "Stored responses")["rows"] == []


async def test_an_encoded_path_is_looked_up_as_clients_send_it() -> None:
    app = library()
    async with running(app) as state:
        await request(app, "/articles/k%C3%A4se", state=state)
        assert len(await stored(app, state, url="/articles/käse")) == 1
        assert len(await stored(app, state, url="/articles/k%C3%A4se")) == 1


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"url": "/articles/1"}, {"path": "/articles/**", "ttl": 300.0, "tags": "articles"}),
        ({"url": "/now"}, "No policy of the configuration has this path"),
        ({"url": "/articles/1", "method": "post"}, "Responses to POST are not stored"),
    ],
)
async def test_a_lookup_shows_the_policy(query: dict[str, str], shown: dict[str, Any] | str) -> None:
    app = library()
    async with running(app) as state:
        blocks = await blocks_of(app, state, **query)
    if isinstance(shown, str):
        assert any(block.get("text", "").startswith(shown) for block in blocks)
    else:
        assert titled(blocks, "Policy")["facts"].items() >= shown.items()


@pytest.mark.needs("redis")
async def test_a_shared_store_that_is_unavailable_is_reported() -> None:
    with Redis() as server:
        app = library(server.url)
        async with running(app) as state:
            server.stop()
            blocks = await blocks_of(app, state, url="http://shop.example/articles/1")
    notices = [block["text"] for block in blocks if block["type"] == "notice"]
    assert any(text.startswith("The shared store cannot be read: ") for text in notices)
