from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import REQUEST_EXPLAINER
from scalekit.host import Host
from scalekit.request_explainer import MAX_BODY, HostExplainer
from scalekit.telemetry import span
from scalekit.testing import request, running

pytestmark = pytest.mark.anyio


async def echo(of: Request) -> Response:
    with span("price"):
        scope = of.scope
        shown = {name: scope[name] for name in ("path", "scheme", "client", "method")}
        return JSONResponse({**shown, "query": dict(of.query_params), "host": of.headers["host"]})


async def fail(of: Request) -> Response:
    with span("price"):
        raise ValueError("wrong")


async def wait(of: Request) -> Response:
    with span("price"):
        await asyncio.Event().wait()
    raise AssertionError


async def endless(of: Request) -> Response:
    async def parts() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"x" * 65536

    return StreamingResponse(parts())


ROUTES = [Route("/echo/{name}", echo), Route("/fail", fail), Route("/wait", wait), Route("/endless", endless)]


@asynccontextmanager
async def shop(**tables: Any) -> AsyncGenerator[tuple[Host, HostExplainer, dict[str, Any]], None]:
    """Run a service whose pages are shown."""
    server = {"operator_networks": ["127.0.0.1"], **tables.pop("server", {})}
    app = create_app({"plugins": {"console": {}, **tables}, "server": server}, app=Starlette(routes=ROUTES))
    async with running(app) as state:
        explainer = app.context.get(REQUEST_EXPLAINER)
        assert isinstance(explainer, HostExplainer)
        yield app, explainer, state


async def test_a_request_has_its_status_spans_and_the_time_in_each_filter() -> None:
    async with shop(tracing={}, compression={}) as (app, explainer, state):
        found = await explainer.explain("GET", "/echo/a?limit=1", 10.0)
        assert (found.status, found.error, found.cut_off) == (200, "", "")
        assert found.size > 0
        assert sorted(each.name for each in found.spans) == ["GET /echo/a", "price"]
        owners = [each.owner for each in found.filters]
        assert {"host", "console", "compression", "application"} <= set(owners)
        assert owners[-1] == "application"
        assert sum(each.seconds for each in found.filters) <= found.seconds
        chain = app.chain
        assert (await request(app, "/echo/a", state=state)).status == 200
        assert app.chain is chain


async def test_caches_say_what_they_decide() -> None:
    async with shop(cache={"policies": [{"path": "/echo/**", "ttl": "1m"}]}) as (_, explainer, _):
        first = await explainer.explain("GET", "/echo/a", 10.0)
        second = await explainer.explain("GET", "/echo/a", 10.0)
    assert "no response is stored for this URL" in first.cache_decisions[0]
    assert "sent the stored response" in second.cache_decisions[0]


async def test_a_url_chooses_scheme_and_host_and_the_client_is_this_machine() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await PlainTextResponse("seen")(scope, receive, send)

    server = {"operator_networks": ["127.0.0.1"], "allowed_hosts": ["shop.example"]}
    host = create_app({"plugins": {"console": {}}, "server": server}, app=app)
    async with running(host):
        explainer = host.context.get(REQUEST_EXPLAINER)
        for url in ("https://shop.example/caf%C3%A9?a=%20b", "/items"):
            assert (await explainer.explain("HEAD", url, 10.0)).status == 200
        assert (await explainer.explain("HEAD", "http://other.example/items", 10.0)).status == 421
    first, second = (each for each in seen if each["type"] == "http")
    assert (first["scheme"], first["path"], first["query_string"]) == ("https", "/café", b"a=%20b")
    assert (second["scheme"], second["path"], second["client"][0]) == ("http", "/items", "127.0.0.1")
    assert all((b"host", b"shop.example") in each["headers"] for each in (first, second))


async def test_an_exception_has_its_traceback_and_spans() -> None:
    async with shop() as (_, explainer, _):
        found = await explainer.explain("GET", "/fail", 10.0)
    assert found.status == 500
    assert "ValueError: wrong" in found.error
    assert "price" in {each.name for each in found.spans}


async def test_a_request_without_an_end_is_cut_off() -> None:
    async with shop() as (_, explainer, _):
        found = await explainer.explain("GET", "/wait", 0.05)
        assert (found.status, found.cut_off) == (0, "did not end within 0.05 s")
        assert "price" in {each.name for each in found.spans}
        endless = await explainer.explain("GET", "/endless", 60.0)
        assert (endless.status, endless.cut_off) == (200, f"is larger than {MAX_BODY} bytes")
        assert endless.size < 2 * MAX_BODY
        assert (await explainer.explain("GET", "/echo/a", 10.0)).status == 200


async def test_one_request_at_a_time() -> None:
    async with shop() as (_, explainer, _):
        first = asyncio.create_task(explainer.explain("GET", "/wait", 0.2))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="another request is being explained; try again"):
            await explainer.explain("GET", "/echo/a", 10.0)
        await first


@pytest.mark.parametrize(
    ("method", "url", "message"),
    [
        ("POST", "/echo/a", "method: expected GET or HEAD, got 'POST'"),
        ("GET", "", "expected a path such as"),
        ("GET", "items", "expected a path such as"),
        ("GET", "//evil.example/a", "expected a path such as"),
        ("GET", "ftp://shop.example/a", "expected a path such as"),
        ("GET", "http://ada:secret@shop.example/a", "expected a path such as"),
        ("GET", "http://shop.example:x/a", "expected a path such as"),
        ("GET", "http://[::1/a", "expected a path such as"),
        ("GET", "/caf\u00e9", "write other characters percent-encoded"),
        ("GET", "/a b", "write other characters percent-encoded"),
        ("GET", "/a\r\nx: y", "write other characters percent-encoded"),
    ],
)
async def test_an_invalid_request_names_the_remedy(method: str, url: str, message: str) -> None:
    async with shop() as (_, explainer, _):
        with pytest.raises(ValueError, match=message):
            await explainer.explain(method, url, 1.0)
