"""A path prefix that the application removes does not bypass rules."""

from __future__ import annotations

from typing import Any

import pytest
from django import conf
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from scalekit import create_app
from scalekit.http.root_path import root_path_of
from scalekit.testing import request, running
from tests.integration.applications import on_django

SECRET = "a secret for tests that is long enough"
PATHS = ["/admin", "/v1/admin", "/v1//admin", "/v1/admin%0A", "/v1/admin/"]


def prefixed() -> FastAPI:
    app = FastAPI()
    app.root_path = "/v1"  # as its parameter does, which is deprecated
    app.get("/admin")(lambda: "secret")
    app.get("/open")(lambda: "open")
    return app


APPLICATIONS: list[Any] = [
    prefixed(),
    CORSMiddleware(prefixed(), allow_origins=["*"]),
    Starlette(routes=[Mount("/", prefixed())]),
]


@pytest.mark.anyio
@pytest.mark.parametrize("app", APPLICATIONS, ids=["alone", "in middleware", "mounted"])
async def test_paths_below_the_prefix_are_protected_and_limited(app: Any) -> None:
    limit = {"name": "a", "path": "/open", "limit": "1/h"}
    plugins = {"jwt": {"secret": SECRET, "protected_paths": ["/admin"]}, "ratelimit": {"policies": [limit]}}
    host = create_app({"plugins": plugins}, app=app)
    async with running(host) as state:
        assert {(await request(host, path, state=state)).status for path in PATHS} == {401}
        assert [(await request(host, path, state=state)).status for path in ("/open", "/v1/open")] == [200, 429]
        assert (await request(host, "/v1/health/live", state=state)).status == 200


@pytest.mark.anyio
async def test_the_application_behaves_as_without_a_prefix() -> None:
    async def seen(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.scope["root_path"])

    app = Starlette(routes=[Route("/v1/beside", seen), Mount("/", prefixed())])
    host = create_app({"plugins": {"cache": {"policies": [{"path": "/**", "ttl": "1m"}]}}}, app=app)
    async with running(host) as state:
        for _ in range(2):
            assert (await request(host, "/v1/beside", state=state)).body == b""
            assert (await request(host, "/v1/open", state=state)).body == b'"open"'


def test_django_takes_the_prefix_from_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    app = on_django.make()
    assert root_path_of(app) == ""
    monkeypatch.setattr(conf.settings, "FORCE_SCRIPT_NAME", "/v1")
    assert root_path_of(app) == "/v1"


def test_other_frameworks_have_no_prefix() -> None:
    assert [root_path_of(app) for app in (FastAPI(), Starlette(), Starlette(routes=[Mount("/x", prefixed())]))] == [
        ""
    ] * 3
