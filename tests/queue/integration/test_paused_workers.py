"""A consumer is paused in four workers, and in those that replace killed and retired ones; no message is lost."""

from __future__ import annotations

import os
import signal
from http.client import HTTPConnection
from typing import Any

import orjson

from tests.processes import HOST, wait_for
from tests.workers import Supervised, wait_for_new_workers, workers_of

WORKERS = 4
MESSAGES = 300
SERVICE = """
import asyncio
import os
import pathlib

from scalekit.contracts import QUEUE
from scalekit.contracts import Consumers, Message
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

consumers = Consumers()
seen = os.open("seen", os.O_CREAT | os.O_WRONLY | os.O_APPEND)


@consumers.on("work", prefetch=8, concurrency=2)
async def work(message: Message[int]) -> None:
    os.write(seen, b"+%d\\n" % message.body)
    while not pathlib.Path("gate").exists():
        await asyncio.sleep(0.01)
    os.write(seen, b"%d\\n" % message.body)


async def publish(request):
    first, count = int(request.path_params["first"]), int(request.path_params["count"])
    await QUEUE(request).publish_many("work", range(first, first + count))
    return PlainTextResponse("published")


app = Starlette(routes=[Route("/publish/{first}/{count}", publish)])
"""


class Paused(Supervised):
    """Four workers that consume from the queue of *table*, with a console."""

    def __init__(self, table: dict[str, Any]) -> None:
        lines = "\n".join(f"{key} = {value!r}" for key, value in table.items())
        toml = (
            f'[server]\nworkers = {WORKERS}\ndrain_delay = "100ms"\noperator_networks = ["{HOST}"]\n[plugins.console]\n'
            f'[plugins.pool]\n[plugins.queue]\nconsumers = "service:consumers"\n{lines}\n'
        )
        super().__init__(toml, {"service": SERVICE})

    def act(self, action: str) -> None:
        connection = HTTPConnection(HOST, self.port, timeout=30)
        headers = {"content-type": "application/json"}
        connection.request("POST", f"/-/queues/{action}", orjson.dumps({"queue": "work"}), headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        assert response.status == 200, content

    def open_gate(self) -> None:
        (self.box.directory / "gate").touch()

    def seen(self, mark: str = "") -> list[int]:
        """Return the messages whose handlers have finished, or with ``+`` have started."""
        lines = (self.box.directory / "seen").read_text().splitlines()
        return [int(line) for line in lines if line.startswith("+") == bool(mark)]

    def table(self, title: str) -> list[dict[str, Any]]:
        for block in orjson.loads(self.get("/-/queues.json"))["blocks"]:
            if block.get("title") == title:
                names = [column["title"] for column in block["columns"]]
                return [dict(zip(names, row, strict=True)) for row in block["rows"]]
        return []

    def states(self) -> list[str]:
        return sorted(row["state"]["text"] for row in self.table("Consumers"))

    def wait_until_paused(self) -> None:
        wait_for("four paused consumers", lambda: self.states() == ["paused"] * WORKERS, limit=90)


def test_a_pause_outlives_killed_and_replaced_workers_and_loses_no_message(table: dict[str, Any]) -> None:
    with Paused(table) as service:
        service.get(f"/publish/0/{MESSAGES}")
        wait_for("handlers in all workers", lambda: len(service.seen("+")) == 2 * WORKERS)
        service.act("pause")
        wait_for("pausing consumers", lambda: service.states() == ["pausing"] * WORKERS)
        before = workers_of(service)
        os.kill(before[0], signal.SIGKILL)  # with messages in flight
        wait_for("a new worker", lambda: len(workers_of(service)) == WORKERS and before[0] not in workers_of(service))
        service.open_gate()
        service.wait_until_paused()
        assert len(service.seen()) == 2 * (WORKERS - 1)
        service.get(f"/publish/{MESSAGES}/10")

        killed = workers_of(service)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        renewed = wait_for_new_workers(service, killed, WORKERS)
        service.wait_until_paused()
        service.signal(signal.SIGHUP)
        wait_for_new_workers(service, renewed, WORKERS)
        service.wait_until_paused()
        waiting = MESSAGES + 10 - 2 * (WORKERS - 1)
        wait_for("all messages ready", lambda: service.table("Queues")[0]["ready"] == waiting, limit=90)
        assert len(service.seen("+")) == 2 * WORKERS

        service.act("resume")
        wait_for("all messages", lambda: set(service.seen()) == set(range(MESSAGES + 10)), limit=90)
        wait_for("running consumers", lambda: service.states() == ["running"] * WORKERS)
        assert len(service.seen()) == MESSAGES + 10
        assert service.log().count("'work' is paused for") >= 3 * WORKERS
