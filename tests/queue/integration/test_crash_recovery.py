"""No message is lost when broker, consumers or publishers are killed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import QUEUE, Queue
from tests.processes import Box, wait_for
from tests.queue.conftest import POSTGRES, RABBITMQ
from tests.queue.harness import open_queue_admin, serving
from tests.queue.killed_workers import KilledWorkers
from tests.servers import Postgres, RabbitMQ

pytestmark = pytest.mark.anyio

MESSAGES = 6_000
"""Enough for every kill to hit messages in flight; more only take longer."""
PUBLISHERS = 16
LIMIT = 240.0


@pytest.fixture
def box() -> Iterator[Box]:
    with Box("workers") as box:
        yield box


async def publish_all(queue: Queue, progress: Counter[str]) -> None:
    """Publish every number with several concurrent tasks, even ones as ``plain``, odd ones as ``once``."""

    async def publish(first: int) -> None:
        for number in range(first, MESSAGES, PUBLISHERS):
            await queue.publish("once" if number % 2 else "plain", number, timeout="60s")
            progress["published"] += 1

    await asyncio.gather(*(publish(first) for first in range(PUBLISHERS)))


async def kill_broker(server: RabbitMQ, progress: Counter[str]) -> None:
    """Kill and restart the broker after each quarter of the messages."""
    for quarter in (1, 2, 3):
        while progress["published"] < quarter * MESSAGES / 4:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        progress["broker"] += 1


async def wait_all(workers: KilledWorkers, effects: Callable[[], int]) -> None:
    async with asyncio.timeout(LIMIT):
        while len(workers.seen()) < MESSAGES / 2 or await asyncio.to_thread(effects) < MESSAGES / 2:
            await asyncio.sleep(0.25)


@pytest.fixture(params=["sqlite", RABBITMQ])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], RabbitMQ | None]:
    if request.param == "sqlite":
        return {"url": f"sqlite:///{tmp_path}/queue.db", "visibility_timeout": "2s"}, None
    return {**request.getfixturevalue("rabbitmq_table"), "check_interval": "1s"}, request.getfixturevalue("broker")


@pytest.mark.needs("postgres")
async def test_no_message_is_lost_and_with_dedupe_each_has_its_effect_once(
    transport: tuple[dict[str, Any], RabbitMQ | None],
    shared_postgres: Postgres,
    box: Box,
    record_property: Callable[[str, object], None],
) -> None:
    table, server = transport
    shared_postgres.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE effects (number integer)")
    progress: Counter[str] = Counter()
    async with serving(table) as host:
        queue = host.context.get(QUEUE)
        if server is not None:
            await queue.publish("plain", 0)
            await queue.publish("once", 1)
            await asyncio.to_thread(server.flush)  # a killed broker loses queues that were declared a moment ago
        workers = KilledWorkers(box, table, {"url": shared_postgres.url})
        all_seen = asyncio.Event()
        killing = [asyncio.create_task(workers.kill_periodically(5.0 if server else 0.3, all_seen))]
        if server is not None:
            killing.append(asyncio.create_task(kill_broker(server, progress)))
        await publish_all(queue, progress)
        await asyncio.gather(*killing[1:])
        await wait_all(workers, lambda: int(shared_postgres.sql("SELECT count(DISTINCT number) FROM effects")))
        all_seen.set()
        await killing[0]
    async with open_queue_admin(table) as queue_inside:
        depths = [await queue_inside.depth(name) for name in ("plain", "once")]

    seen = workers.seen()
    assert set(seen) == set(range(0, MESSAGES, 2)), "lost"
    assert [depth.dead for depth in depths] == [0, 0]
    effects = shared_postgres.sql("SELECT count(*), count(DISTINCT number), min(number), max(number) FROM effects")
    extra = 1 if server is not None else 0  # number 1 was published twice, under two ids
    assert effects == f"{MESSAGES // 2 + extra}|{MESSAGES // 2}|1|{MESSAGES - 1}"
    duplicates = seen.total() - len(seen)
    record_property("duplicates", duplicates)
    print(f"duplicates: {duplicates}, consumers killed: {workers.killed}, broker killed: {progress['broker']}")
    assert workers.killed
    assert progress["broker"] == (3 if server is not None else 0)


PUBLISHER = """
import asyncio, json, os, sys

from scalekit import create_app
from scalekit.contracts import QUEUE
from scalekit.testing import running
from scalekit.testing.conformance import bare_application

confirmed = os.open("confirmed", os.O_CREAT | os.O_WRONLY | os.O_APPEND)


async def main():
    plugins = {"pool": {"url": "sqlite:///:memory:"}, "queue": json.loads(sys.argv[1])}
    host = create_app({"plugins": plugins}, app=bare_application)
    async with running(host):
        async def publish(first):
            for number in range(first, 10**9, 8):
                await host.context.get(QUEUE).publish("data.created", f"{os.getpid()}-{number}")
                os.write(confirmed, b"%d-%d\\n" % (os.getpid(), number))
        await asyncio.gather(*map(publish, range(8)))

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", POSTGRES])
def stored_table(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the table of a queue whose messages the publisher itself writes."""
    table: dict[str, Any] = request.getfixturevalue(f"{request.param}_table")
    return table


async def test_messages_confirmed_to_a_killed_publisher_are_stored(box: Box, stored_table: dict[str, Any]) -> None:
    box.write("publisher.py", PUBLISHER)
    confirmed = box.directory / "confirmed"
    before = 0
    for _ in range(3):
        process = box.spawn(sys.executable, "publisher.py", json.dumps(stored_table))

        def has_more(before: int = before) -> bool:
            return confirmed.exists() and confirmed.stat().st_size > before + 20_000

        await asyncio.to_thread(wait_for, "confirmed messages", has_more, process)
        await asyncio.to_thread(box.kill, process)
        before = confirmed.stat().st_size
    async with open_queue_admin(stored_table) as queue:
        stored = {each.body.decode().strip('"') for each in await queue.peek("data.created", False, 10**6)}
    reported = confirmed.read_text().split()
    assert len(reported) > 1000
    assert set(reported) <= stored
