"""Tasks of requests are stored before the response, by every transport, and not with an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import HTTPConnection

from scalekit import ResourceError, create_app
from scalekit.contracts import DATABASE, DURABLE_TASKS, QUEUE, Consumers, DurableTasks
from scalekit.host import Host
from scalekit.testing import ReceivedResponse, request, running
from tests.queue.harness import consumers_target, open_queue_admin, serving, wait_until, with_pool

pytestmark = pytest.mark.anyio
Table = dict[str, Any]
Tasks = Annotated[DurableTasks, Depends(DURABLE_TASKS)]

consumers = Consumers()
app = FastAPI()
written: list[tuple[str, int]] = []


@consumers.task("log.write", result_ttl="1h")
def write(line: str, size: int = 1) -> int:
    written.append((line, size))
    return size


@app.post("/added/{status}")
async def added(status: int, tasks: Tasks, response: Response) -> str:
    response.status_code = status
    return tasks.add_task(write, f"of {status}", size=2)


@app.post("/synchronous")
def synchronous(tasks: Tasks) -> list[str]:
    return [tasks.add_task(write, each) for each in "ab"]


@app.post("/raised/{status}")
async def raised(status: int, tasks: Tasks) -> None:
    tasks.add_task(write, "raised")
    if status == 500:
        raise ZeroDivisionError
    raise HTTPException(status)


@app.post("/stream")
async def stream(tasks: Tasks) -> Response:
    async def lines() -> AsyncGenerator[str, None]:
        tasks.add_task(write, "early")
        yield "one"
        tasks.add_task(write, "late")
        yield "two"

    return StreamingResponse(lines())


@app.post("/transaction")
async def transaction(incoming: Request, tasks: Tasks, fail: bool = False) -> str:
    async with DATABASE(incoming).transaction():
        tasks.add_task(write, "of a transaction")
        await tasks.flush()
        if fail:
            raise HTTPException(409)
    return "committed"


@app.post("/large")
async def large(tasks: Tasks) -> str:
    with pytest.raises(ValueError, match=r"arguments of log\.write: the message has \d+ bytes, more than max_body 99"):
        tasks.add_task(write, "x" * 100)
    return tasks.add_task(write, "short")


@app.post("/invalid")
async def invalid(tasks: Tasks) -> str:
    for function, arguments in ((print, ("a",)), (write, (1,))):
        with pytest.raises(ValueError, match=r"is not a task of this service|argument 'line' of log\.write"):
            tasks.add_task(function, *arguments)
    return "rejected"


@app.post("/after")
async def after(tasks: Tasks, background: BackgroundTasks) -> str:
    background.add_task(add_late, tasks)
    return "sent"


async def add_late(tasks: DurableTasks) -> None:
    with pytest.raises(RuntimeError, match="the response has been sent"):
        tasks.add_task(write, "lost")
    written.append(("refused", 0))


class Service:
    """The running application, whose tasks are stored and not run."""

    def __init__(self, host: Host, table: Table, state: dict[str, Any]) -> None:
        self.host = host
        self._table = table
        self._state = state

    async def post(self, target: str) -> ReceivedResponse:
        return await request(self.host, target, method="POST", state=self._state)

    async def stored(self) -> int:
        async with open_queue_admin(self._table) as queue:
            return (await queue.depth("log.write")).ready

    async def wait_stored(self, count: int) -> None:
        async with asyncio.timeout(60):
            while await self.stored() != count:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def service(table: Table, **plugins: Any) -> AsyncGenerator[Service, None]:
    table = {"consumers": consumers_target(consumers), "consume_in": "workers", **table}
    tables = {"pool": {"url": "sqlite:///:memory:"}, **plugins, "queue": table}
    host = create_app({"plugins": with_pool(table, tables)}, app=app)
    async with running(host) as state:
        yield Service(host, table, state)


async def test_tasks_are_stored_once_the_response_arrives_and_run_in_a_consumer(table: Table) -> None:
    written.clear()
    async with service(table) as running_service:
        response = await running_service.post("/added/201")
        assert (response.status, await running_service.stored()) == (201, 1)
        assert (await running_service.post("/synchronous")).status == 200
        assert await running_service.stored() == 3
    async with serving(table, consumers, pool={"url": "sqlite:///:memory:"}) as host:
        await wait_until(lambda: len(written) == 3)
        assert sorted(written) == [("a", 1), ("b", 1), ("of 201", 2)]
        if not table["url"].startswith("amqp"):  # whose statuses are in the pool's database, which is in memory
            async with asyncio.timeout(60):
                while (status := await host.context.get(QUEUE).status(response.body.decode().strip('"'))) is None or (
                    status.result is None
                ):
                    await asyncio.sleep(0.02)
            assert status.result == 2


@pytest.mark.parametrize("target", ["/added/400", "/added/500", "/raised/404", "/raised/500"])
async def test_an_error_stores_none(sqlite_table: Table, target: str) -> None:
    async with service(sqlite_table) as running_service:
        try:
            response = await running_service.post(target)
        except ZeroDivisionError:
            response = ReceivedResponse(500)
        assert response.status == int(target.rpartition("/")[2])
        assert await running_service.stored() == 0


async def test_tasks_of_a_stream_are_stored_before_its_end(sqlite_table: Table) -> None:
    async with service(sqlite_table) as running_service:
        assert (await running_service.post("/stream")).body == b"onetwo"
        assert await running_service.stored() == 2


async def test_flushed_tasks_are_a_part_of_the_transaction(sqlite_table: Table) -> None:
    async with service({**sqlite_table, "outbox_interval": "20ms"}) as running_service:
        assert (await running_service.post("/transaction?fail=true")).status == 409
        assert (await running_service.post("/transaction")).status == 200
        await running_service.wait_stored(1)
        database = running_service.host.context.get(DATABASE)
        assert await database.fetch_val("SELECT count(*) FROM scalekit_queue_outbox") == 0


@pytest.mark.usefixtures("no_start_wait")
async def test_a_response_whose_tasks_cannot_be_stored_is_a_503(
    sqlite_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with service({**sqlite_table, "url": "amqp://guest:guest@127.0.0.1:9/"}) as running_service:
        monkeypatch.setattr("scalekit_queue.request_tasks.PUBLISH_TIMEOUT", 0.05)
        response = await running_service.post("/added/200")
    assert (response.status, response.header("content-type")) == (503, "application/problem+json")
    assert b"of 200" not in response.body


async def test_a_task_that_is_too_large_is_refused_when_it_is_added(sqlite_table: Table) -> None:
    async with service({**sqlite_table, "max_body": "99B", "consume_in": "workers"}) as running_service:
        assert (await running_service.post("/large")).status == 200
        assert await running_service.stored() == 1


async def test_invalid_and_late_tasks_are_refused(sqlite_table: Table) -> None:
    written.clear()
    async with service(sqlite_table) as running_service:
        assert (await running_service.post("/invalid")).status == 200
        assert (await running_service.post("/after")).status == 200
        assert written == [("refused", 0)]
        assert await running_service.stored() == 0
        websocket = HTTPConnection({"type": "websocket", "headers": [], "scalekit": running_service.host.context})
        with pytest.raises(ResourceError, match="it is a websocket"):
            DURABLE_TASKS(websocket)
