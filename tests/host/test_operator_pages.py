from __future__ import annotations

from typing import Any

import orjson
import pytest
from starlette.applications import Starlette

from scalekit import create_app
from scalekit.testing import request, running
from tests.plugin_source import Install

pytestmark = pytest.mark.anyio

MAINTENANCE = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from scalekit import Layer, LayeredFilter, ManagementRoute, Middleware, hookimpl

closed = True

class Closed:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        app = PlainTextResponse("closed", 503) if closed and scope["type"] == "http" else self.app
        await app(scope, receive, send)

async def switch(request):
    global closed
    await request.body()
    closed = not closed
    return PlainTextResponse("switched")

@hookimpl
def scalekit_filters(context): return [LayeredFilter(Layer.LOG, Middleware(Closed))]

@hookimpl
def scalekit_routes(context):
    return [ManagementRoute("/-/maintenance", switch, methods=["POST"]), Route("/greeting", switch)]
"""


async def test_operator_pages_are_outside_of_all_layers_and_inside_the_hosts_limits(
    install: Install,
) -> None:
    install("maintenance", MAINTENANCE)
    server = {"operator_networks": ["127.0.0.1"], "max_body": 4, "allowed_hosts": ["localhost"]}
    app = create_app({"plugins": {"maintenance": {}}, "server": server}, app=Starlette())
    async with running(app) as state:
        assert (await request(app, "/greeting", state=state)).status == 503
        assert (await request(app, "/-/maintenance", method="POST", body=b"12345", state=state)).status == 413
        elsewhere = await request(app, "/-/maintenance", method="POST", headers={"host": "other"}, state=state)
        assert elsewhere.status == 421
        assert (await request(app, "/-/maintenance", method="POST", body=b"1234", state=state)).body == b"switched"
        assert (await request(app, "/greeting", state=state)).status == 200


@pytest.mark.parametrize(
    ("server", "status"),
    [({}, 404), ({"operator_networks": ["127.0.0.1"]}, 200), ({"operator_networks": ["10.0.0.0/8"]}, 403)],
)
async def test_the_index_lists_the_pages_for_operators(server: dict[str, Any], status: int) -> None:
    app = create_app({"plugins": {"visits": {}}, "server": server}, app=Starlette())
    async with running(app) as state:
        response = await request(app, "/-/", state=state)
    assert response.status == status
    if status == 200:
        pages = ["/-/log-level", "/-/memory", "/-/visits", "/health", "/health/live", "/health/ready"]
        assert orjson.loads(response.body) == {"pages": pages}


PAGES = ["/-/", "/-/memory", "/-/log-level"]


@pytest.mark.parametrize("server", [{"operator_networks": ["127.0.0.1"]}, {"management_address": "127.0.0.1:80"}])
@pytest.mark.parametrize("path", PAGES)
async def test_operators_by_address_use_a_known_host(server: dict[str, Any], path: str) -> None:
    """A page of another site may rebind its name to this address."""
    settings = {
        "plugins": {"logging": {}},
        "server": {"operator_token": "t0ken", "allowed_hosts": ["Shop:80"], **server},
    }
    app = create_app(settings, app=Starlette())
    known = ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:80", "shop:80"]
    async with running(app) as state:
        for host in known if "management_address" in server else ["shop:80"]:
            assert (await request(app, path, headers={"host": host}, state=state)).status == 200, host
        if "management_address" in server:
            for host in ("evil.example", "shop:81", "localhost.evil.example", "[::1", "127.1", ""):
                refused = await request(app, path, headers={"host": host}, state=state)
                assert refused.status == 403, host
                assert "server.allowed_hosts" in orjson.loads(refused.body)["detail"]
            by_token = {"host": "evil.example", "authorization": "Bearer t0ken"}
            assert (await request(app, path, headers=by_token, state=state)).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_rebound_name_changes_no_log_level(method: str) -> None:
    app = create_app({"plugins": {"logging": {}}, "server": {"operator_networks": ["127.0.0.1"]}}, app=Starlette())
    async with running(app) as state:
        headers = {"host": "evil.example", "content-type": "application/json"}
        body = b'{"level": "debug"}' if method == "POST" else b""
        assert (
            await request(app, "/-/log-level", method=method, headers=headers, body=body, state=state)
        ).status == 403
