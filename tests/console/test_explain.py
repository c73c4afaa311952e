from __future__ import annotations

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
from scalekit.testing import running
from tests.console.clients import Browser

pytestmark = pytest.mark.anyio


async def item(of: Request) -> PlainTextResponse:
    with span("<b>price</b>", password="hunter2"):
        if of.path_params["id"] == 0:
            raise ValueError("wrong password=hunter2")
    return PlainTextResponse("item")


async def home(of: Request) -> PlainTextResponse:
    return PlainTextResponse("home")


def shop(**console: Any) -> Host:
    tables = {"plugins": {"console": console}, "server": {"operator_networks": ["127.0.0.1"]}}
    return create_app(tables, app=Starlette(routes=[Route("/items/{id:int}", item, methods=["GET", "POST"])]))


async def test_a_form_shows_the_spans_in_place_and_leaves_an_audit_line(caplog: pytest.LogCaptureFixture) -> None:
    app = shop()
    async with running(app) as state:
        browser = Browser(app, state)
        assert b'action="/-/requests/explain"' in (await browser.get("/-/requests")).body
        page = await browser.submit("/-/requests/explain", url="/items/1?limit=1", method="GET")
    assert page.status == 200
    for text in (b"GET /items/1?limit=1: status 200 in ", b"Spans of the explained request", b"&lt;b&gt;price"):
        assert text in page.body
    assert b"hunter2" not in page.body
    (line,) = [each for each in caplog.records if each.name == "scalekit.console"]
    assert line.levelno == logging.WARNING
    assert (
        "action requests/explain url='/items/1?limit=1' method='GET' by 127.0.0.1 (address): GET" in line.getMessage()
    )


async def test_programs_get_the_blocks_of_the_result() -> None:
    app = shop()
    async with running(app) as state:
        browser = Browser(app, state)
        done = await browser.post_json("/-/requests/explain", {"url": "/items/0", "method": "GET"})
    (result,) = orjson.loads(done.body)["results"]
    facts, tree, stack, filters = result["blocks"]
    assert facts["facts"]["status"] == 500
    assert tree["roots"][0]["children"][0]["attributes"]["password"] == "***"
    assert "ValueError: wrong" in stack["text"]
    assert "hunter2" not in str(result)
    assert filters["rows"][-1][:2] == ["application", "application"]


async def test_a_route_without_parameters_has_a_button() -> None:
    app = create_app(
        {"plugins": {"console": {}}, "server": {"operator_networks": ["127.0.0.1"]}},
        app=Starlette(routes=[Route("/items", home, methods=["GET", "POST"]), Route("/items/{id}", home)]),
    )
    async with running(app) as state:
        browser = Browser(app, state)
        for target, method in (("/items", "GET"), ("/items/1", "GET"), ("/items", "POST")):
            await browser._send(method, target, {})
        found = orjson.loads((await browser.get("/-/requests.json")).body)["blocks"]
    (table,) = [each for each in found if each.get("title", "").startswith("Routes")]
    shown = {(row[0], row[1]): row[-1] for row in table["rows"]}
    assert shown["GET", "/items"]["values"] == {"url": "/items", "method": "GET"}
    assert shown["GET", "/items/{id}"] is None
    assert shown["POST", "/items"] is None


@pytest.mark.parametrize(
    ("values", "status", "detail"),
    [
        ({"url": "/items/1", "method": "POST"}, 400, "method: expected GET, HEAD, got 'POST'"),
        ({"url": "", "method": "GET"}, 400, "url: a value is required"),
        ({"url": "items", "method": "GET"}, 422, "expected a path such as /items?limit=10"),
    ],
)
async def test_an_invalid_request_is_refused(values: dict[str, str], status: int, detail: str) -> None:
    app = shop()
    async with running(app) as state:
        refused = await Browser(app, state).post_json("/-/requests/explain", values)
    assert refused.status == status
    assert detail in refused.body.decode()


async def test_nothing_is_explained_without_the_form_or_with_actions_off() -> None:
    for actions, token in ((True, "0" * 32), (False, None)):
        app = shop(actions=actions)
        async with running(app) as state:
            browser = Browser(app, state)
            await browser.get("/-/requests")
            fields = {"url": "/items/1", "method": "GET", **({"csrf_token": token} if token else {})}
            refused = await browser.submit("/-/requests/explain", {}, **fields)
            assert refused.status == 403
