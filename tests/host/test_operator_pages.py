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
