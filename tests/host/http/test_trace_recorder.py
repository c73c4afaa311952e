"""The spans of each request, for its developer."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from scalekit.http.exchange import Exchange
from scalekit.http.filter import Decision, Filter, Pending
from scalekit.http.trace_recorder import TraceRecorder
from scalekit.telemetry import FinishedSpan, span
from tests.host.asgi import Conversation, behind, http_scope

pytestmark = pytest.mark.anyio


class Slow(Filter):
    """Waits for a reply before it continues."""

    def on_request(self, exchange: Exchange) -> Decision:
        reply = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(reply.set_result, None)
        return Pending(reply, lambda: None)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    with span("work"):
        if scope["path"] == "/fault":
            raise ValueError("wrong")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def recorded(path: str) -> dict[str, FinishedSpan]:
    found: list[FinishedSpan] = []
    chain = behind(app, TraceRecorder(found.extend), Slow())
    await Conversation().run(chain, http_scope(path))
    return {each.name: each for each in found}


async def test_request_waits_and_work() -> None:
    spans = await recorded("/x")
    assert set(spans) == {"GET /x", "tests wait", "work"}
    root = spans["GET /x"]
    assert root.attributes["http.response.status_code"] == 200
    assert spans["work"].parent_id == spans["tests wait"].parent_id == root.span_id
    assert spans["tests wait"].ended_ns > spans["tests wait"].began_ns


async def test_an_error() -> None:
    found: list[FinishedSpan] = []
    with pytest.raises(ValueError, match="wrong"):
        await Conversation().run(behind(app, TraceRecorder(found.extend)), http_scope("/fault"))
    assert [(each.name, each.error) for each in found] == [("GET /fault", "ValueError"), ("work", "ValueError")]
