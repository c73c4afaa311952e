"""Log lines name the span in which they were written, and exemplars refer to kept traces only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from scalekit import create_app
from scalekit.host import Host
from scalekit.telemetry import span
from scalekit.testing import request, running
from tests.host.asgi import Conversation, http_scope
from tests.logging.log_capture import Line, read
from tests.metrics.scrape_client import MetricsApp
from tests.metrics.test_endpoint import exemplars, openmetrics
from tests.tracing.span_receiver import SpanReceiver, span_receiver

pytestmark = pytest.mark.anyio
logger = logging.getLogger("shop")

JWT = {"secret": "a secret for tests that is long enough", "protected_paths": ["/private"]}


async def item(request: Request) -> Response:
    logger.info("before")
    with span("price"):
        logger.info("inside")
        await asyncio.to_thread(logger.info, "thread")
    return PlainTextResponse("")


async def fault(request: Request) -> Response:
    raise ValueError("wrong")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


APP = Starlette(routes=[Route("/items/{id}", item), Route("/fault", fault), WebSocketRoute("/echo", echo)])


@asynccontextmanager
async def traced(
    receiver: SpanReceiver, sampling: dict[str, Any], **plugins: dict[str, Any]
) -> AsyncGenerator[tuple[Host, Any], None]:
    options = {"slow_quantile": 0.0, "max_traces_per_second": 1000.0, **sampling}
    tracing = {"endpoint": receiver.url, "export_interval": "10ms", "sampling": options}
    app = create_app({"plugins": {"tracing": tracing, **plugins}}, app=APP)
    async with running(app) as state:
        yield app, state


async def logged(folder: Path, path: str, table: dict[str, Any]) -> tuple[list[Line], dict[str, str]]:
    """Return the lines of a request, and the ids of its spans by name."""
    log = {"console": "off", "directory": str(folder), **table}
    with span_receiver() as receiver:
        async with traced(receiver, {"ratio": 1.0}, logging=log, jwt=JWT) as (app, state):
            if path == "/echo":
                scope = http_scope(path, type="websocket", scheme="ws", subprotocols=[], state=state)
                client = Conversation()
                client.to_app.put_nowait({"type": "websocket.connect"})
                await client.run(app, scope)
            else:
                try:
                    await request(app, path, state=state)
                except ValueError:
                    assert path == "/fault"
        spans = receiver.spans()
    return read(folder / "combined.log"), {each["name"]: each["spanId"] for each in spans}


TABLES = pytest.mark.parametrize("table", [{}, {"tail": {"slow_threshold": "1us"}}], ids=["plain", "tail"])


@TABLES
async def test_lines_have_the_id_of_the_span_in_which_they_were_written(tmp_path: Path, table: dict[str, Any]) -> None:
    lines, ids = await logged(tmp_path, "/items/7", table)
    root, price = ids["GET /items/{id}"], ids["price"]
    expected = {"before": root, "inside": price, "thread": price, "request": root}
    assert {line["event"]: line["span_id"] for line in lines if line["event"] in expected} == expected


@TABLES
@pytest.mark.parametrize(
    ("path", "name"), [("/fault", "GET /fault"), ("/echo", "GET /echo"), ("/none", "GET"), ("/private", "GET")]
)
async def test_access_lines_have_the_id_of_the_span_of_their_request(
    tmp_path: Path, path: str, name: str, table: dict[str, Any]
) -> None:
    lines, ids = await logged(tmp_path, path, table)
    (line,) = [line for line in lines if line["logger"] == "scalekit.access"]
    assert line["span_id"] == ids[name]


async def test_exemplars_refer_to_kept_traces_only() -> None:
    with span_receiver() as receiver:
        async with traced(receiver, {"ratio": 0.0}, metrics={}) as (app, state):
            service = MetricsApp(app, state)
            for _ in range(5):
                await service.request("/items/7")
            assert exemplars(await openmetrics(service)) == []
            with pytest.raises(ValueError, match="wrong"):
                await service.request("/fault")
            found = exemplars(await openmetrics(service))
        (failed,) = receiver.spans()
    assert found == [("/fault", failed["traceId"])]
