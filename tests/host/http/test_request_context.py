from __future__ import annotations

from time import time

import pytest
from starlette.types import Receive, Scope, Send

from scalekit.http.request_context import DEADLINE, REQUEST_CONTEXT
from scalekit.http.trace_context import TRACE_CONTEXT, TraceContext
from tests.host.asgi import Conversation, behind, respond

pytestmark = pytest.mark.anyio

Seen = list[tuple[str, float | None]]


async def seen(scope: Scope) -> tuple[str, float | None]:
    found: Seen = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        context = TRACE_CONTEXT.get()
        found.append((context.request_id if context else "", DEADLINE.get()))
        await respond(send)

    await Conversation().run(behind(handler, REQUEST_CONTEXT), {"path": "/", **scope})
    (one,) = found
    return one


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_trace_context_and_deadline_are_set_during_a_request_and_reset_after_it(kind: str) -> None:
    headers = [(b"x-request-id", b"request-7"), (b"x-request-timeout-ms", b"5000")]
    began = time()
    identifier, deadline = await seen({"type": kind, "headers": headers})
    assert identifier == "request-7"
    assert deadline is not None
    assert began + 5 <= deadline <= time() + 5
    assert (TRACE_CONTEXT.get(), DEADLINE.get()) == (None, None)


async def test_values_of_an_earlier_request_are_not_inherited() -> None:
    context, deadline = TRACE_CONTEXT.set(TraceContext("before", "0" * 32, [])), DEADLINE.set(time() + 60)
    try:
        assert await seen({"type": "http", "headers": [(b"x-request-id", b"after")]}) == ("after", None)
    finally:
        DEADLINE.reset(deadline)
        TRACE_CONTEXT.reset(context)


async def test_other_scopes_are_forwarded_unchanged() -> None:
    assert await seen({"type": "lifespan"}) == ("", None)
