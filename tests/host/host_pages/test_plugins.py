from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.console.clients import console_app
from tests.host.host_pages.page_json import blocks_of, rows
from tests.plugin_source import Install

pytestmark = pytest.mark.anyio

GREETS = """
from contextlib import asynccontextmanager
from scalekit import Filter, Key, Layer, LayeredFilter, Lifespan, Middleware, hookimpl
from starlette.responses import PlainTextResponse
from starlette.routing import Route

GREETER = Key("greeter <b>")

class Greets(Filter):
    runs_while_pending = True
    def on_request(self, exchange): return None
    def on_complete(self, exchange, error): pass

class Passes:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send): await self.app(scope, receive, send)

@hookimpl
def scalekit_filters(context):
    return [LayeredFilter(Layer.CACHE, Greets()), LayeredFilter(Layer.LIMIT_CLIENT, Middleware(Passes))]

@hookimpl
def scalekit_routes(context):
    async def greet(request): return PlainTextResponse("hello")
    return [Route("/greet/{guest}", greet)]

@hookimpl
def scalekit_lifespan(context):
    @asynccontextmanager
    async def run():
        context.provide(GREETER, True)
        yield
    return Lifespan(run, provides=(GREETER,))
"""


async def test_plugins_filters_starts_and_routes_are_shown(install: Install) -> None:
    module = install("greets", GREETS)
    async with console_app({"greets": {}, "headers": {}}) as browser:
        found = await blocks_of(browser, "plugins")
    plugins = {row["plugin"]["text"]: row for row in rows(found, "Plugins")}
    assert list(plugins) == ["console", "greets", "headers"]
    assert plugins["greets"] == {
        "plugin": {"type": "link", "text": "greets", "page": "configuration", "query": {"filter": "plugins.greets"}},
        "version": "1.0",
        "distribution": "dist-greets",
        "source": {"type": "badge", "text": "third party", "tone": "neutral"},
        "module": module,
        "filters": 2,
        "routes": 1,
        "hooks": "filters, lifespan, routes",
    }
    assert plugins["headers"]["source"]["text"] == "ScaleKit"
    chain = rows(found, "Chain of filters, the outermost first")
    assert [row["position"] for row in chain] == [*range(1, len(chain) + 1)]
    own = [(row["layer"], row["filter"], row["runs while pending"]) for row in chain if row["plugin"] == "greets"]
    assert own == [("LIMIT_CLIENT", f"{module}.Passes", None), ("CACHE", f"{module}.Greets", True)]
    assert {row["time per request"] for row in chain} == {None}
    starts = {row["starts"]: row for row in rows(found, "Start order")}
    assert starts["greets"]["provides"] == "greeter <b>"
    assert starts["greets"]["slowest worker"] >= starts["greets"]["fastest worker"] > 0
    assert list(starts)[-1] == "the application"
    routes = {row["path"]: row for row in rows(found, "Routes")}
    assert (routes["/greet/{guest}"]["owner"], routes["/greet/{guest}"]["for"]) == ("greets", "clients")
    assert routes["/-/log-level"]["for"] == "operators"


async def test_filters_are_measured_on_demand(install: Install) -> None:
    module = install("greets", GREETS)
    async with console_app({"greets": {}}) as browser:
        assert not [each for each in await blocks_of(browser, "plugins") if each.get("title", "").startswith("Time")]
        done = await browser.post_json("/-/plugins/measure", {})
        assert orjson.loads(done.body)["results"][0]["message"].startswith("measuring for 10 s")
        again = await browser.post_json("/-/plugins/measure", {})
        assert orjson.loads(again.body)["results"][0]["failed"]
        async with asyncio.timeout(30):
            found: list[dict[str, Any]] = []
            own: list[dict[str, Any]] = []
            measured: dict[str, int] = {}
            while measured.get("on_complete", 0) < 3:
                await asyncio.sleep(0.01)  # requests within a process may never suspend
                await browser.get("/page")
                found = await blocks_of(browser, "plugins")
                own = [
                    row
                    for table in found
                    if table.get("title") == "Time of filters by call"
                    for row in rows(found, table["title"])
                    if row["filter"] == f"{module}.Greets"
                ]
                measured = {row["call"]: row["calls"] for row in own}
    assert any("A measurement is under way" in each.get("text", "") for each in found)
    assert set(measured) == {"on_request", "on_complete"}
    for row in own:
        assert 0 < row["mean"] <= row["longest"]
        assert row["p99"] <= row["longest"]
    times = {row["plugin"]: row for row in rows(found, "Time of plugins in a request that reaches them")}
    assert times["greets"]["time per request"] == pytest.approx(sum(row["mean"] for row in own), rel=0.7)
    assert times["greets"]["wait per request"] == 0
    (link,) = [
        row for row in rows(found, "Chain of filters, the outermost first") if row["filter"] == f"{module}.Greets"
    ]
    assert link["time per request"] > 0
