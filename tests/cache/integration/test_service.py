"""The cache under a real server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx2
import pytest

from scalekit import ConfigError, create_app
from scalekit.testing.conformance import bare_application
from tests.command_line import scalekit
from tests.service import Service

TOML = """\
[plugins.cache]
[[plugins.cache.policies]]
path = "/items/*"
ttl = "1h"
"""
APPLICATION = """\
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit_cache import cached

calls = 0


async def count(request):
    global calls
    calls += 1
    return PlainTextResponse(str(calls))


@cached(ttl="1h")
async def policy_of(request):
    return await count(request)


app = Starlette(routes=[Route("/items/{id}", count), Route("/policy_of", policy_of), Route("/other", count)])
"""


def test_a_stored_response_is_reused() -> None:
    with (
        Service(TOML, {"service": APPLICATION}) as service,
        httpx2.Client(base_url=service.url, timeout=60, verify=False) as client,
    ):
        first, second = client.get("/items/1"), client.get("/items/1")
        assert (first.text, second.text) == ("1", "1")
        assert first.headers["cache-status"] == "scalekit; fwd=uri-miss; fwd-status=200; stored"
        assert second.headers["cache-status"].startswith("scalekit; hit; ttl=35")
        first_date, second_date = (parsedate_to_datetime(response.headers["date"]) for response in (first, second))
        assert abs(second_date - first_date) <= timedelta(seconds=1), (
            "the server updates the Date of the first once a second"
        )
        assert int(second.headers["age"]) < 60
        assert client.get("/policy_of").text == client.get("/policy_of").text == "2"
        assert client.get("/other").text != client.get("/other").text


FRAMEWORKS = {
    "starlette": """\
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from scalekit.contracts import CACHE
from scalekit_cache import cached

calls = 0


@cached(ttl="1h", tags=["items"], vary=["X-Shop"])
async def items(request):
    global calls
    calls += 1
    return PlainTextResponse(str(calls))


async def purge(request):
    await CACHE(request).purge(tag="items")
    return PlainTextResponse("")


app = Starlette(routes=[Route("/items/{id}", items), Route("/purge", purge, methods=["POST"])])
""",
    "fastapi": """\
from fastapi import Depends, FastAPI
from fastapi.responses import PlainTextResponse
from scalekit.contracts import CACHE, Cache
from scalekit_cache import cached

app = FastAPI()
calls = 0


@app.get("/items/{id}")
@cached(ttl="1h", tags=["items"], vary=["X-Shop"])
async def items(id: int) -> PlainTextResponse:
    global calls
    calls += id
    return PlainTextResponse(str(calls))


@app.post("/purge")
async def purge(cache: Cache = Depends(CACHE)) -> None:
    await cache.purge(tag="items")
""",
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_cached_sets_the_ttl_and_metrics_have_the_route(framework: str) -> None:
    toml = "[plugins.cache]\n[plugins.metrics]\n"
    with (
        Service(toml, {"service": FRAMEWORKS[framework]}) as service,
        httpx2.Client(base_url=service.url, timeout=60, verify=False) as client,
    ):
        assert [client.get("/items/1").text for _ in range(3)] == ["1"] * 3
        assert client.get("/items/1", headers={"X-Shop": "other"}).text == "2"
        client.post("/purge").raise_for_status()
        assert [client.get("/items/1").text for _ in range(2)] == ["3"] * 2
        page = client.get("/metrics").text
        route = 'method="GET",route="/items/{id}",status="200"'
        assert f"http_request_duration_seconds_count{{{route}}} 6\n" in page
        assert 'scalekit_cache_requests_total{outcome="hit"} 3\n' in page
        assert 'scalekit_cache_requests_total{outcome="miss"} 3\n' in page
        assert "scalekit_cache_purges_total 1\n" in page
        assert "scalekit_cache_items 3\n" in page


def test_conditional_range_and_head_requests_over_a_connection() -> None:
    source = """\
import time
from email.utils import formatdate

DATE = formatdate(time.time() - 100, usegmt=True).encode()


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    headers = [(b"cache-control", b"max-age=600000"), (b"etag", b'"a"'), (b"date", DATE)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"01234", "more_body": True})
    await send({"type": "http.response.body", "body": b"56789"})
"""
    with (
        Service("[plugins.cache]\n[plugins.logging]\n", {"service": source}) as service,
        httpx2.Client(base_url=service.url, timeout=60, verify=False) as client,
    ):
        whole = client.get("/")
        responses = [
            client.get("/"),
            client.head("/"),
            client.get("/", headers={"If-None-Match": '"a"'}),
            client.get("/", headers={"Range": "bytes=2-3"}),
            client.get("/", headers={"Range": "bytes=20-"}),
        ]
        assert [response.status_code for response in responses] == [200, 200, 304, 206, 416]
        assert [response.text for response in responses] == ["0123456789", "", "", "23", ""]
        assert [response.headers.get("content-length") for response in responses] == ["10", "10", None, "2", "0"]
        assert all(int(response.headers["age"]) >= 100 for response in responses)
        assert {response.headers["date"] for response in responses} == {whole.headers["date"]}
        assert all("hit" in response.headers["cache-status"] for response in responses)
        assert len({response.headers["x-request-id"] for response in responses}) == len(responses)


def test_concurrent_clients_call_the_application_once() -> None:
    source = """\
import asyncio

calls = 0


async def app(scope, receive, send):
    global calls
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    calls += 1
    body = b"%d" % calls
    headers = [(b"cache-control", b"max-age=60")]
    await asyncio.sleep(0.2)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
    with Service("[plugins.cache]\n", {"service": source}) as service, ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: httpx2.get(f"{service.url}/slow", timeout=60, verify=False), range(20)))
        assert {response.text for response in responses} == {"1"}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            '[plugins.cache]\nurl = "memcached://127.0.0.1"',
            "unknown store 'memcached://127.0.0.1'; use one of memory:, cluster-cache:, redis://",
        ),
        ('[plugins.cache]\nurl = "redis://a,b"', "the URL of a cluster begins with redis-cluster://"),
        ('[plugins.cache]\nurl = "redis-sentinel://a,a/m"', "the Sentinel a:26379 is named twice"),
        ('[plugins.cache]\nurl = "rediss+sentinel://a/m"', "write rediss-sentinel://"),
        ('[plugins.cache]\nprefix = "a{b}"', "prefix"),
        ('[[plugins.cache.policies]]\npath = "shop"', "put a slash before it"),
        ('[[plugins.cache.policies]]\npath = "/"\nttl = "0s"', "must be greater than zero"),
        ('[[plugins.cache.policies]]\npath = "/"\nvary_by = "name"', "identity"),
    ],
)
def test_an_invalid_table_is_refused_with_the_remedy(toml: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "scalekit.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError) as raised:
        create_app(file, app=bare_application)
    assert message in str(raised.value)


def test_the_command_requires_a_shared_store(tmp_path: Path) -> None:
    file = tmp_path / "scalekit.toml"
    file.write_text('[app]\ntarget = "sample_app.app:app"\n[plugins.cache]\n')
    done = scalekit("cache", "purge", "--tag", "t", folder=tmp_path)
    assert done.returncode == 1
    assert "each process has its own" in done.stderr


@pytest.mark.parametrize("more", ["per_worker = true", 'url = "redis://127.0.0.1:1"'])
def test_several_workers_require_a_shared_store_or_per_worker(more: str, tmp_path: Path) -> None:
    file = tmp_path / "scalekit.toml"
    file.write_text("[server]\nworkers = 2\n[plugins.cache]\n")
    with pytest.raises(ConfigError, match=r"plugins\.cache\.url: is .* per_worker = true"):
        create_app(file, app=bare_application)
    file.write_text(f"[server]\nworkers = 2\n[plugins.cache]\n{more}\n")
    create_app(file, app=bare_application)


def test_the_store_of_the_cluster_cache_requires_that_plugin(tmp_path: Path) -> None:
    file = tmp_path / "scalekit.toml"
    file.write_text('[plugins.cache]\nurl = "cluster-cache:"\n')
    with pytest.raises(ConfigError, match=r"turn on \[plugins.cluster-cache\]"):
        create_app(file, app=bare_application)
