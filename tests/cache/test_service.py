"""The cache under a real server."""

from __future__ import annotations

import httpx2
import pytest

from tests.service import Service

pytestmark = pytest.mark.anyio

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
async def marked(request):
    return await count(request)


app = Starlette(routes=[Route("/items/{id}", count), Route("/marked", marked), Route("/other", count)])
"""


def test_an_answer_is_made_once_and_given_again() -> None:
    with Service(TOML, {"service": APPLICATION}) as service, httpx2.Client(base_url=service.url) as client:
        first, second = client.get("/items/1"), client.get("/items/1")
        assert (first.text, second.text) == ("1", "1")
        assert first.headers["cache-status"] == "scalekit; fwd=uri-miss; fwd-status=200; stored"
        assert second.headers["cache-status"].startswith("scalekit; hit; ttl=35")
        assert second.headers["age"] == "0"
        assert second.headers["date"] == first.headers["date"]
        assert client.get("/marked").text == client.get("/marked").text == "2"
        assert client.get("/other").text != client.get("/other").text
