"""Applications and frameworks that use opentelemetry-api, from the request to the collector."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from scalekit import create_app
from scalekit.contracts import DATABASE
from scalekit.telemetry import span
from scalekit.testing import request, running
from tests.tracing.span_receiver import attributes, span_receiver
from tests.tracing.test_filters import settings

pytestmark = pytest.mark.anyio

SENT = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


async def price(request: Request) -> Response:
    with trace.get_tracer("shop", "1.2").start_as_current_span("price") as current:
        rows = await DATABASE(request).fetch_all("SELECT * FROM stock")
        current.set_status(StatusCode.ERROR, "no rows at redis://:secret@db/")
    return PlainTextResponse(str(len(rows)))


async def item(request: Request) -> Response:
    trace.get_current_span().set_attributes({"user.id": 7, "url.path": "another"})
    with span("own"):
        pass
    if request.path_params["id"] == "0":
        raise ValueError
    return PlainTextResponse("")


def user() -> int:
    trace.get_current_span().set_attribute("user.id", 7)
    with span("in dependency"):
        return 7


FASTAPI = FastAPI()


@FASTAPI.get("/items/{id}")
def fastapi_item(id: str, tasks: BackgroundTasks, user: Annotated[int, Depends(user)]) -> dict[str, int]:
    tasks.add_task(lambda: None)
    with span("own"):
        pass
    if id == "0":
        raise ValueError
    return {"user": user}


STARLETTE = Starlette(routes=[Route("/items/{id}", item)], middleware=[Middleware(OpenTelemetryMiddleware)])


async def exported(app: ASGIApp, path: str, headers: dict[str, str], **sampling: Any) -> list[dict[str, Any]]:
    with span_receiver() as receiver:
        host = create_app(settings(receiver, **sampling), app=app)
        async with running(host) as state:
            try:
                await request(host, path, headers=headers, state=state)
            except ValueError:
                assert path.startswith("/items/0")
        return receiver.spans()


async def test_statements_below_a_span_of_the_api(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.execute("CREATE TABLE stock (id int)")
    app = Starlette(routes=[Route("/price", price)])
    with span_receiver() as receiver:
        configured = settings(receiver)
        configured["plugins"]["pool"] = {"url": f"sqlite:///{tmp_path}/shop.db"}
        host = create_app(configured, app=app)
        async with running(host) as state:
            await request(host, "/price", state=state)
    (sent,) = receiver.requests
    found = {each["name"]: each for each in sent.spans()}
    assert found["price"]["parentSpanId"] == found["GET /price"]["spanId"]
    assert found["SELECT stock"]["parentSpanId"] == found["price"]["spanId"]
    assert found["price"]["status"] == {"code": 2, "message": "no rows at redis://:***@db/"}
    scopes = sent.body["resourceSpans"][0]["scopeSpans"]
    names = {each["scope"]["name"]: [span["name"] for span in each["spans"]] for each in scopes}
    assert names["shop"] == ["price"]
    assert set(names["scalekit"]) >= {"GET /price", "SELECT stock"}
    assert next(each["scope"]["version"] for each in scopes if each["scope"]["name"] == "shop") == "1.2"


@pytest.mark.parametrize("app", [STARLETTE, FASTAPI], ids=["starlette", "fastapi"])
@pytest.mark.parametrize("headers", [{}, SENT], ids=["new trace", "trace of the client"])
async def test_the_server_span_of_a_framework_is_that_of_scalekit(app: ASGIApp, headers: dict[str, str]) -> None:
    spans = await exported(app, "/items/7?token=secret", headers)
    (root,) = (each for each in spans if each["kind"] == 2)
    assert root["name"] == "GET /items/{id}"
    assert root.get("parentSpanId") == ("b" * 16 if headers else None)
    assert "secret" not in str(spans), "paths without the query"
    assert "client.address" not in attributes(root)
    ids = {each["spanId"] for each in spans}
    assert all(each["parentSpanId"] in ids for each in spans if each is not root)
    assert len({each["traceId"] for each in spans}) == 1


@pytest.mark.parametrize("app", [STARLETTE, FASTAPI], ids=["starlette", "fastapi"])
async def test_a_framework_does_not_continue_the_trace_of_a_client_without_trust(app: ASGIApp) -> None:
    spans = await exported(app, "/items/7", SENT, parent_networks=["192.0.2.1"])
    (trace_id,) = {each["traceId"] for each in spans}
    assert trace_id != "a" * 32
    (root,) = (each for each in spans if each["kind"] == 2)
    assert attributes(root)["user.id" if app is STARLETTE else "http.route"]
    assert any(each["name"] == "own" for each in spans)


async def test_what_an_application_adds_to_the_current_span() -> None:
    root = {each["name"]: each for each in await exported(STARLETTE, "/items/7", {})}["GET /items/{id}"]
    found = attributes(root)
    assert (found["user.id"], found["url.path"], found["http.response.status_code"]) == (7, "/items/7", 200)
    assert "status" not in root


@pytest.mark.parametrize("app", [STARLETTE, FASTAPI], ids=["starlette", "fastapi"])
async def test_an_exception_is_one_event_of_the_server_span(app: ASGIApp) -> None:
    (root,) = (each for each in await exported(app, "/items/0", {}) if each["kind"] == 2)
    assert [event["name"] for event in root["events"]] == ["exception"]
    assert attributes(root)["error.type"] == "ValueError"
    assert root["status"] == {"code": 2}


async def test_the_spans_of_fastapi() -> None:
    spans = {each["name"]: each for each in await exported(FASTAPI, "/items/7", {})}
    parents = {name: each.get("parentSpanId") for name, each in spans.items()}
    root = spans["GET /items/{id}"]["spanId"]
    assert {name for name, parent in parents.items() if parent == root} >= {
        "fastapi.dependencies",
        "fastapi.endpoint",
        "fastapi.serialization",
    }
    assert parents["in dependency"] == spans["fastapi.dependencies"]["spanId"]
    assert parents["own"] == spans["fastapi.endpoint"]["spanId"]
    assert attributes(spans["fastapi.dependencies"])["user.id"] == 7
