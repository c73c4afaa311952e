"""Consumers in worker processes started with ``scalekit run --only queue``."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.processes import HOST, free_ports, wait_for
from tests.servers import ask
from tests.service import Service

SOURCE = """
import asyncio
import os

from scalekit.contracts import DATABASE, QUEUE
from scalekit.contracts import Consumers, Message

consumers = Consumers()


@consumers.on("slow", concurrency=2, prefetch=4)
async def slow(message: Message[int]) -> None:
    await record(message, "begun")
    while not os.path.exists("go"):
        await asyncio.sleep(0.02)
    await record(message, "ended")


async def record(message, step):
    values = {"number": message.body, "step": step, "pid": os.getpid()}
    await message.context.get(DATABASE).execute("INSERT INTO work VALUES (:number, :step, :pid)", values)


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    context = scope["scalekit"]
    if scope["path"] == "/publish":
        await context.get(QUEUE).publish_many("slow", range(8))
    rows = await context.get(DATABASE).fetch_all("SELECT number, step, pid FROM work")
    body = b"%d" % len(rows) if scope["path"] != "/rows" else repr([tuple(row) for row in rows]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""
TOML = """
[server]
drain_delay = "0s"
[plugins.logging]
[plugins.metrics]
[plugins.pool]
url = "sqlite:///work.db"
migrate_on_start = true
[plugins.queue]
consumers = "service:consumers"
consume_in = "workers"
visibility_timeout = "2s"
"""


@pytest.fixture
def web() -> Service:
    return Service(TOML, {"service": SOURCE})


def rows(service: Service, step: str) -> list[tuple[int, str, int]]:
    return [row for row in eval(service.get("/rows")) if row[1] == step]


def test_a_worker_consumes_messages_of_the_web_process_and_drains_before_its_database_closes(
    web: Service,
) -> None:
    original = web.prepare

    def prepare() -> None:
        original()
        (web.box.directory / "migrations").mkdir()
        migration = "CREATE TABLE work (number INTEGER, step TEXT, pid INTEGER);"
        (web.box.directory / "migrations/0001_work.sqlite.sql").write_text(migration)

    web.prepare = prepare  # type: ignore[method-assign]  # adds a migration
    with web:
        (management,) = free_ports(1)
        options = ["--set", f"server.management_address={HOST}:{management}"]
        worker = web.box.spawn(sys.executable, "-m", "scalekit", "run", "--only", "queue", *options, log="worker.log")
        wait_for("readiness", lambda: "ready" in ask(management, "GET", "/health/ready"), worker)
        assert "scalekit_queue" in ask(management, "GET", "/metrics")
        web.get("/publish")
        wait_for("two running handlers", lambda: len(rows(web, "begun")) == 2, worker)
        worker.send_signal(signal.SIGTERM)
        log = web.box.directory / "worker.log"
        wait_for("the drain", lambda: "draining" in log.read_text(), worker)
        (web.box.directory / "go").touch()
        assert worker.wait(120) == 0, log.read_text()
        assert len(rows(web, "ended")) == 2, log.read_text()
        assert {pid for *_, pid in rows(web, "begun")} == {worker.pid}

        # Messages that it received and did not start are available to the next worker immediately.
        other = web.box.spawn(sys.executable, "-m", "scalekit", "run", "--only", "queue", log="other.log")
        wait_for("the other messages", lambda: len(rows(web, "ended")) == 8, other)
        assert sorted(number for number, *_ in rows(web, "ended")) == list(range(8))
