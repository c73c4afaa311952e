"""Tasks of a request with an Idempotency-Key commit with it, and are published once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from scalekit import create_app
from scalekit.contracts import DURABLE_TASKS, Consumers
from scalekit.telemetry import TELEMETRY
from scalekit.testing import request, running
from scalekit_queue.metrics import OUTBOX_RELAYED
from tests.queue.harness import consumers_target, open_queue_admin, wait_until

pytestmark = pytest.mark.anyio

consumers = Consumers()


@consumers.task("receipts.send")
def send_receipt(order: int) -> None: ...


async def place(scope: Scope, receive: Receive, send: Send) -> None:
    tasks = scope["app"].state.tasks = DURABLE_TASKS(Request(scope))
    tasks.add_task(send_receipt, 7)
    await send({"type": "http.response.start", "status": 201, "headers": []})
    if scope["path"] == "/broken":
        raise ZeroDivisionError
    await send({"type": "http.response.body", "body": b"placed"})


app = Starlette(routes=[Mount("/", place)])


async def test_tasks_roll_back_with_the_request_and_are_published_once(
    sqlite_table: dict[str, Any], tmp_path: Path
) -> None:
    target = consumers_target(consumers)
    queue = {**sqlite_table, "consumers": target, "consume_in": "workers", "outbox_interval": "20ms"}
    plugins = {"queue": queue, "pool": {"url": f"sqlite:///{tmp_path}/test.db"}, "idempotency": {}, "metrics": {}}
    host = create_app({"plugins": plugins}, app=app)
    async with running(host) as state, open_queue_admin(queue) as admin:
        with pytest.raises(ZeroDivisionError):
            await request(host, "/broken", method="POST", headers={"idempotency-key": "a"}, state=state)
        with pytest.raises(RuntimeError, match="the response has been sent"):
            app.state.tasks.add_task(send_receipt, 8)
        for _ in range(2):
            response = await request(host, "/", method="POST", headers={"idempotency-key": "b"}, state=state)
            assert (response.status, response.body) == (201, b"placed")
        relayed = host.context.get(TELEMETRY).recorded(OUTBOX_RELAYED)[()]
        await wait_until(lambda: relayed.value)
        assert (relayed.value, (await admin.depth("receipts.send")).ready) == (1, 1)
