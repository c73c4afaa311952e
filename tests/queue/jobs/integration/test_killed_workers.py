"""Jobs, chains and groups while workers and servers are killed: each link has its effect once, each group one end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit.contracts import QUEUE, Consumers, JobState, Queue, Then
from tests.queue.conftest import RABBITMQ
from tests.queue.harness import AnyMessage, serving
from tests.queue.jobs.harness import wait_state
from tests.servers import Postgres, RabbitMQ
from tests.service import Service
from tests.workers import Supervised, workers_of

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

CHAINS = 40
GROUPS = 4
GROUP_SIZE = 15
"""Enough for every kill to hit messages in flight; more only take longer."""
KILLS = 5
MIN_KILLS = 2
KILL_INTERVAL = 0.4
LIMIT = 120.0
LINKS = ("first", "second", "third", "member", "complete")
SERVICE = f"""
import asyncio
import os
from pathlib import Path

from starlette.applications import Starlette

from scalekit.contracts import DATABASE, Consumers, Message

INSERT = "INSERT INTO effects VALUES (:id, :name, :succeeded)"
app = Starlette()
consumers = Consumers()


async def add(message: Message[dict]) -> dict:
    Path(f"handled-{{os.getpid()}}").touch()
    await asyncio.sleep(0.05)
    succeeded = message.body.get("result", {{}}).get("succeeded")
    values = {{"id": message.id, "name": message.name, "succeeded": succeeded}}
    await message.context.get(DATABASE).execute(INSERT, values)
    return {{"last": message.name}}

for name in {LINKS}:
    consumers.on(name, dedupe="1h", result_ttl="1h", retry=["100ms"] * 30, concurrency=4, prefetch=8)(add)
"""


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        server.sql("CREATE TABLE effects (id text, name text, succeeded integer)")
        yield server


@pytest.fixture(params=["sqlite", "postgresql", RABBITMQ])
def queue_table(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "sqlite":
        return {"url": f"sqlite:///{tmp_path}/queue.db", "visibility_timeout": "1s", "outbox_interval": "100ms"}
    if request.param == "postgresql":
        return {"url": "database:", "visibility_timeout": "1s"}
    table = {**request.getfixturevalue("rabbitmq_table"), "check_interval": "1s", "outbox_interval": "100ms"}
    return {**table, "url": request.getfixturevalue("broker").url}


@pytest.fixture
def service(queue_table: dict[str, Any], postgres: Postgres) -> Iterator[Service]:
    lines = "\n".join(f"{key} = {value!r}" for key, value in queue_table.items())
    toml = (
        f'[server]\nworkers = 2\npreload = true\ndrain_delay = "100ms"\n[plugins.pool]\nurl = "{postgres.url}"\n'
        f'max_size = 6\nacquire_timeout = "2s"\n[plugins.queue]\nconsumers = "service:consumers"\n{lines}\n'
    )
    with Supervised(toml, {"service": SERVICE}) as service:
        yield service


def declared() -> Consumers:
    """Return the consumers of the service for a process that only publishes."""
    consumers = Consumers()

    async def take(message: AnyMessage) -> None:
        raise AssertionError

    for name in LINKS:
        consumers.on(name, result_ttl="1h")(take)
    return consumers


async def publish_all(queue: Queue, chains: int, groups: int) -> dict[str, str]:
    """Publish chains and groups; return the effects that all messages together must have, by id."""
    expected: dict[str, str] = {}
    for number in range(chains):
        then = [Then("second", {"number": number}), Then("third", {"number": number})]
        identifier = await queue.publish("first", {"number": number}, then=then)
        expected |= {identifier: "first|0", f"{identifier}.1": "second|0", f"{identifier}.2": "third|0"}
    for number in range(groups):
        messages = [("member", {"number": each}) for each in range(GROUP_SIZE)]
        group = await queue.publish_group(messages, then=Then("complete", {"number": number}))
        expected |= {f"{group}:{each}": "member|0" for each in range(1, GROUP_SIZE + 1)}
        expected[group] = f"complete|{GROUP_SIZE}"
    return expected


async def kill_workers(service: Service, stop: asyncio.Event) -> int:
    """Kill a worker that has handled messages at each interval, up to KILLS of them; return their number.

    The supervisor ends a service whose workers do not start.
    """
    killed = 0
    while not stop.is_set() and killed < KILLS:
        await asyncio.sleep(KILL_INTERVAL)
        busy = [pid for pid in workers_of(service) if (service.box.directory / f"handled-{pid}").exists()]
        if busy:
            os.kill(busy[killed % len(busy)], signal.SIGKILL)
            killed += 1
    return killed


def effects(postgres: Postgres) -> list[str]:
    return sorted(postgres.sql("SELECT id, name, coalesce(succeeded, 0) FROM effects").splitlines())


async def test_each_link_has_its_effect_once_and_each_group_completes_once(
    request: pytest.FixtureRequest,
    queue_table: dict[str, Any],
    service: Service,
    postgres: Postgres,
    record_property: Callable[[str, object], None],
) -> None:
    broker: RabbitMQ | None = request.getfixturevalue("broker") if "amqp" in queue_table["url"] else None
    table = {**queue_table, "consume_in": "workers"}
    async with serving(table, declared(), pool={"url": postgres.url}) as host:
        queue = host.context.get(QUEUE)
        expected = await publish_all(queue, 1, 1)
        if broker is not None:
            await asyncio.to_thread(broker.flush)  # a killed broker loses queues that were declared a moment ago
        expected |= await publish_all(queue, CHAINS, GROUPS)
        stop = asyncio.Event()
        killing = asyncio.create_task(kill_workers(service, stop))
        for server in (postgres, broker):
            if server is not None:
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
        async with asyncio.timeout(LIMIT):
            while len(await asyncio.to_thread(effects, postgres)) < len(expected):
                await asyncio.sleep(0.1)
        stop.set()
        assert await killing >= MIN_KILLS
        for identifier in expected:
            await wait_state(queue, identifier, JobState.SUCCEEDED)
    assert effects(postgres) == sorted(f"{identifier}|{effect}" for identifier, effect in expected.items())
    record_property("messages", len(expected))
