from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.host import Host
from scalekit.telemetry import span
from scalekit.testing import request, running

pytestmark = pytest.mark.anyio
MARKUP = "</script><img src=x onerror=alert(1)>\u202e\x00"
SECRET = "password=hunter2"


async def item(of: Request) -> PlainTextResponse:
    with span(f"price {MARKUP}", sku=MARKUP, password="hunter2") as price:
        price.event(MARKUP, note=SECRET)
        logging.getLogger("shop").warning("%s %s", MARKUP, SECRET)
        if of.path_params["id"] == 0:
            raise ValueError(f"wrong {MARKUP} {SECRET}")
        await asyncio.sleep(0)
    return PlainTextResponse("item")


def shop(**plugins: Any) -> Host:
    tables = {"plugins": {"console": {}, **plugins}, "server": {"operator_networks": ["127.0.0.1"]}}
    return create_app(tables, app=Starlette(routes=[Route("/items/{id:int}", item, methods=["GET", "POST"])]))


LOGGING = {"logging": {"console": "off"}}
TRACING = {"tracing": {"sampling": {"ratio": 1.0, "slow_threshold": "0s"}}}


async def fail(app: Host, state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wrong"):
        await request(app, "/items/0", state=state, headers={"x-request-id": "r-0"})


async def blocks(app: Host, state: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads((await request(app, f"/-/requests.json{query}", state=state)).body)[
        "blocks"
    ]
    return found


async def lines(app: Host, state: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Return the blocks of the failed request once the writer thread has its *count* lines."""
    while True:
        found = await blocks(app, state, "?id=r-0")
        if any(block.get("title") == "Log lines" and len(block["rows"]) == count for block in found):
            return found


async def test_routes_have_their_requests_errors_and_durations() -> None:
    app = shop()
    async with running(app) as state:
        await fail(app, state)
        for method in ("GET", "GET", "POST", "BREW"):
            await request(app, "/items/1", state=state, method=method)
        await request(app, "/missing", state=state)
        _, _, table, text = await blocks(app, state)
    rows = {(row[0], row[1]): row[2:] for row in table["rows"]}
    assert rows["GET", "/items/{id}"][:3] == [3, 1, 1 / 3]
    assert rows["POST", "/items/{id}"][:2] == [1, 0]
    assert rows["GET", "no route"][0] == 1
    assert rows["GET", "/items/{id}"][3] > 0
    assert "_OTHER" in {method for method, _ in rows}
    assert "[plugins.tracing]" in text["text"]


async def test_kept_traces_are_listed_by_reason() -> None:
    app = shop(**TRACING)
    async with running(app) as state:
        await fail(app, state)
        await request(app, "/items/1", state=state)
        _, _, _, failed, slow, others = await blocks(app, state)
    ((_, link, path, status, seconds, error, reason, worker),) = failed["rows"]
    assert (path, status, error, reason["text"], worker) == ("/items/0", "500", "ValueError", "failed", "1")
    assert link["text"] == "GET /items/{id}"
    assert seconds > 0
    assert slow["rows"] == []
    assert [row[2] for row in others["rows"]] == ["/items/1"]


async def test_a_request_has_its_spans_exception_and_log_lines() -> None:
    app = shop(**LOGGING, **TRACING)
    async with running(app) as state:
        await fail(app, state)
        form, facts, tree, stack, explain, _ = found = await lines(app, state, 2)
        trace_id = facts["facts"]["trace id"]
        assert (await blocks(app, state, f"?id={trace_id}"))[1:] == found[1:]
        html = (await request(app, "/-/requests?id=r-0", state=state, headers={"accept": "text/html"})).body.decode()
    assert form["values"] == {"id": "r-0"}
    ((root,),) = (tree["roots"],)
    assert root["children"][0]["attributes"]["password"] == "***"
    assert stack["text"].rstrip().rpartition("\n")[2].startswith("ValueError: wrong")
    assert explain["values"] == {"url": "/items/0", "method": "GET"}
    assert "hunter2" not in str(found)
    assert "hunter2" not in html
    assert "<img" not in html


async def test_without_tracing_the_log_has_the_exception() -> None:
    app = shop(**LOGGING)
    async with running(app) as state:
        await fail(app, state)
        _, notice, table, stack = await lines(app, state, 2)
    assert "[plugins.tracing]" in notice["remedy"]
    assert table["rows"][1][4] == "request"
    assert stack["text"].rstrip().rpartition("\n")[2].startswith("ValueError: wrong")


async def test_an_unknown_request_is_reported() -> None:
    app = shop(**LOGGING, **TRACING)
    async with running(app) as state:
        _, notice, table = await blocks(app, state, "?id=%3Cimg%3E")
    assert notice["text"] == "No trace of <img> is kept."
    assert table["rows"] == []


async def test_a_path_is_explained_as_the_client_sent_it() -> None:
    app = shop(**TRACING)
    async with running(app) as state:
        await request(app, "/a%0Ab';$(id)", state=state, headers={"x-request-id": "r-1"})
        found = await blocks(app, state, "?id=r-1")
        assert found[-1]["values"] == {"url": "/a%0Ab%27%3B%24%28id%29", "method": "GET"}
        await request(app, "/items/1", state=state, method="POST", headers={"x-request-id": "r-2"})
        assert not [block for block in await blocks(app, state, "?id=r-2") if block["type"] == "code"]
