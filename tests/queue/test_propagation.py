"""Trace context, deadline and consistency token reach the handler of a message."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from scalekit import create_app
from scalekit.contracts import CONSISTENCY_TOKENS, QUEUE, Consumers, Message
from scalekit.contracts.consistency import CONSISTENCY, Consistency
from scalekit.http.request_context import DEADLINE
from scalekit.http.trace_context import TRACE_CONTEXT, TraceContext
from scalekit.testing import request, running
from tests.queue.harness import AnyMessage, consumers_target, serving, wait_until, with_pool

pytestmark = pytest.mark.anyio
Table = dict[str, Any]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_handler_has_the_trace_context_and_deadline_of_its_publisher(table: Table) -> None:
    consumers = Consumers()
    seen: list[tuple[TraceContext | None, float | None, float | None]] = []

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        seen.append((TRACE_CONTEXT.get(), DEADLINE.get(), message.deadline))

    async with serving(table, consumers) as host:
        identity = TRACE_CONTEXT.set(TraceContext("request-7", TRACE, [], flags="01"))
        sent = round(time()) + 3600.5
        deadline = DEADLINE.set(sent)
        await host.context.get(QUEUE).publish("data.created", 1)
        TRACE_CONTEXT.reset(identity)
        DEADLINE.reset(deadline)
        await wait_until(lambda: seen)
    (found, until_when, reported), *_ = seen
    assert found is not None
    assert (found.request_id, found.trace_id, found.flags) == ("request-7", TRACE, "01")
    assert (until_when, reported) == (sent, sent)


async def test_the_deadline_of_a_message_is_that_of_the_request_that_published_it(table: Table) -> None:
    consumers = Consumers()
    seen: dict[str, tuple[float | None, float | None]] = {}

    @consumers.on("data.created")
    async def take(message: Message[str]) -> None:
        seen[message.body] = message.deadline, DEADLINE.get()

    async def publish(scope: Scope, receive: Receive, send: Send) -> None:
        await scope["scalekit"].get(QUEUE).publish("data.created", scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    waits = {"/long": "3600000", "/short": "0"}
    queue = {**table, "consumers": consumers_target(consumers)}
    app = create_app({"plugins": {**with_pool(table, {}), "queue": queue}}, app=publish)
    async with running(app) as state:
        began = time()
        for path in ("/long", "/none", "/short"):
            headers = {"x-request-timeout-ms": waits[path]} if path in waits else {}
            assert (await request(app, path, headers=headers, state=state)).status == 204
        assert DEADLINE.get() is None
        await wait_until(lambda: len(seen) == 3)
    assert seen["/none"] == (None, None)
    deadline, current = seen["/long"]
    assert deadline is not None
    assert began + 3599 < deadline < time() + 3600
    assert current == deadline
    deadline, current = seen["/short"]
    assert deadline is not None
    assert deadline <= time()
    assert current is None, "the deadline has passed, and the message is handled without one"


async def test_reads_of_a_handler_see_the_writes_of_its_publisher(table: Table, tmp_path: Path) -> None:
    consumers = Consumers()
    seen: list[Consistency | None] = []

    @consumers.on("data.created")
    async def take(message: AnyMessage) -> None:
        seen.append(CONSISTENCY.get())

    url = f"sqlite:///{tmp_path}/shop.db"
    copy = f"sqlite:///{tmp_path}/shop.db?copy"
    replica = {"urls": [copy], "secret": "s" * 32}
    async with serving(table, consumers, pool={"url": url}, replica=replica) as host:
        assert host.context.has(CONSISTENCY_TOKENS)
        queue = host.context.get(QUEUE)
        wrote = Consistency()
        wrote.wrote = True
        token = CONSISTENCY.set(wrote)
        await queue.publish("data.created", 1)
        CONSISTENCY.reset(token)
        await wait_until(lambda: seen)
        await queue.publish("data.created", 2)
        await wait_until(lambda: len(seen) == 2)
    first, second = seen
    assert first is not None
    assert first.until
    assert second is not None
    assert not second.until
