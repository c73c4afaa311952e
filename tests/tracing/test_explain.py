"""A live request explained to an operator, and to nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.telemetry import span
from scalekit.testing import ReceivedResponse, request, running
from scalekit_tracing import explain as module

pytestmark = pytest.mark.anyio

EXPLAIN = {"scalekit-explain": "1"}


async def item(request: Request) -> Response:
    with span("price", note="redis://:secret@db/"):
        pass
    return PlainTextResponse("item", headers={"cache-control": "max-age=60"})


async def fault(request: Request) -> Response:
    raise ValueError("wrong")


async def events(request: Request) -> Response:
    async def forever() -> AsyncGenerator[str, None]:
        while True:
            yield "data: x\n\n"
            await asyncio.Event().wait()

    return StreamingResponse(forever(), media_type="text/event-stream")


async def timeout(request: Request) -> Response:
    raise TimeoutError("of the application")


APP = Starlette(
    routes=[Route("/items/{id}", item), Route("/fault", fault), Route("/events", events), Route("/timeout", timeout)]
)


async def ask(
    path: str, headers: dict[str, str], explain: bool = True, token: str = "operator-token"
) -> list[ReceivedResponse]:
    """Return two responses to equal requests."""
    tracing = {"endpoint": "http://127.0.0.1:1", "explain": explain, "sampling": {"ratio": 0.0, "errors": False}}
    tables: dict[str, Any] = {
        "server": {"operator_token": "operator-token"},
        "plugins": {"tracing": tracing, "cache": {}},
    }
    app = create_app(tables, app=APP)
    async with running(app) as state:
        return [await request(app, path, headers=headers, state=state) for _ in range(2)]


OPERATOR = {**EXPLAIN, "authorization": "Bearer operator-token"}


async def test_an_operator_sees_the_spans_and_why_nothing_is_stored() -> None:
    for response in await ask("/items/7", OPERATOR):
        text = response.body.decode()
        assert response.status == 200
        assert response.header("cache-control") == "no-store"
        assert text.startswith("GET /items/{id} ")
        assert "└─ price" in text
        assert "http.response.status_code=200" in text
        assert "* cache: not stored scalekit.cache.reason=the request has Authorization; the response must say" in text
        assert "secret" not in text


@pytest.mark.parametrize(("path", "kind"), [("/fault", ValueError), ("/timeout", TimeoutError)])
async def test_an_exception_is_raised_as_usual(path: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await ask(path, OPERATOR)


async def test_a_response_without_an_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECONDS", 0.1)
    for response in await ask("/events", OPERATOR):
        text = response.body.decode()
        assert "* cut off: the response did not end within 0.1 s" in text
        assert "http.response.body.size=9\n" in text


@pytest.mark.parametrize(
    ("headers", "explain"), [({**EXPLAIN, "authorization": "Bearer other"}, True), (EXPLAIN, True), (OPERATOR, False)]
)
async def test_nobody_else_does(headers: dict[str, str], explain: bool) -> None:
    for response in await ask("/items/7", headers, explain):
        assert response.body == b"item"


async def test_head_has_the_length_and_no_body() -> None:
    tables: dict[str, Any] = {
        "server": {"operator_networks": ["127.0.0.0/8"]},
        "plugins": {"tracing": {"explain": True}},
    }
    app = create_app(tables, app=APP)
    async with running(app) as state:
        response = await request(app, "/items/7", method="HEAD", headers=EXPLAIN, state=state)
    assert (response.status, response.body) == (200, b"")
    assert int(response.header("content-length") or 0) > 0
