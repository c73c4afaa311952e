"""Rules for GET apply to HEAD, since one handler serves both methods."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.testing import request, running

SECRET = "a secret for tests that is long enough"


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("page")


APP = Starlette(routes=[Route("/page", page, methods=["GET", "DELETE"])])


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "status"), [("GET", 401), ("HEAD", 401), ("DELETE", 200)])
async def test_a_rule_for_get_is_for_head(method: str, status: int) -> None:
    rule = {"path": "/page", "methods": ["get"], "scopes": ["pages"]}
    host = create_app({"plugins": {"jwt": {"secret": SECRET, "rules": [rule]}}}, app=APP)
    async with running(host) as state:
        assert (await request(host, "/page", method=method, state=state)).status == status


@pytest.mark.anyio
async def test_a_limit_for_get_counts_head() -> None:
    policy = {"name": "a", "path": "/page", "methods": ["GET"], "limit": "2/h"}
    host = create_app({"plugins": {"ratelimit": {"policies": [policy]}}}, app=APP)
    async with running(host) as state:
        statuses = [
            (await request(host, "/page", method=method, state=state)).status for method in ("HEAD", "GET", "HEAD")
        ]
        assert statuses == [200, 200, 429]
        assert (await request(host, "/page", method="DELETE", state=state)).status == 200
