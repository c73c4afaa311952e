"""A live request explained to an operator, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit import create_app
from scalekit.telemetry import span
from scalekit.testing import ReceivedResponse, request, running

pytestmark = pytest.mark.anyio

EXPLAIN = {"scalekit-explain": "1"}


async def item(request: Request) -> Response:
    with span("price", note="redis://:secret@db/"):
        pass
    return PlainTextResponse("item", headers={"cache-control": "max-age=60"})


async def fault(request: Request) -> Response:
    raise ValueError("wrong")


APP = Starlette(routes=[Route("/items/{id}", item), Route("/fault", fault)])


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


async def test_an_exception_is_explained() -> None:
    for response in await ask("/fault", OPERATOR):
        assert response.status == 200
        assert "failed: ValueError" in response.body.decode()


@pytest.mark.parametrize(
    ("headers", "explain"), [({**EXPLAIN, "authorization": "Bearer other"}, True), (EXPLAIN, True), (OPERATOR, False)]
)
async def test_nobody_else_does(headers: dict[str, str], explain: bool) -> None:
    for response in await ask("/items/7", headers, explain):
        assert response.body == b"item"
