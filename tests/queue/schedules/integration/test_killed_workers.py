"""Eight workers of two instances publish and handle each tick once, while workers and instances are killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.processes import wait_for
from tests.queue.conftest import RABBITMQ
from tests.servers import Postgres
from tests.service import Service
from tests.workers import Supervised, workers_of

WORKERS = 4
PERIOD = 200
SCHEDULES = 5
TICKS = 200
"""Enough for several kills of workers and of an instance; more only take longer."""
KILL_INTERVAL = 0.7
MIN_KILLS = 6
LIMIT = 120.0
SERVICE = f"""
from scalekit.contracts import DATABASE, Consumers, Message, Tick
from starlette.applications import Starlette

INSERT = "INSERT INTO effects VALUES (:schedule, :due)"

consumers = Consumers()
app = Starlette()


async def add(message: Message[Tick]) -> None:
    due = round(message.body.due.timestamp() * 1000)
    await message.context.get(DATABASE).execute(INSERT, {{"schedule": message.name, "due": due}})

for number in range({SCHEDULES}):
    overlap = "queue" if number == 0 else "allow"
    period = "{PERIOD * 5}ms" if number == 0 else "{PERIOD}ms"
    consumers.every(
        period, name=f"tick{{number}}", missed="run_all", overlap=overlap, retry=["100ms"] * 20, timeout="10s"
    )(add)
"""


@pytest.fixture(params=["sqlite", "postgresql", RABBITMQ])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "sqlite":
        return {"url": f"sqlite:///{tmp_path}/queue.db", "visibility_timeout": "2s"}
    if request.param == "postgresql":
        return {"url": "database:", "visibility_timeout": "2s"}
    return {**request.getfixturevalue("rabbitmq_table"), "check_interval": "1s", "outbox_interval": "200ms"}


@pytest.fixture
def instances(queue: dict[str, Any], shared_postgres: Postgres) -> Iterator[list[Service]]:
    shared_postgres.sql(
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE effects (schedule text, due bigint)"
    )
    lines = "\n".join(f"{key} = {value!r}" for key, value in queue.items())
    toml = (
        f'[server]\nworkers = {WORKERS}\npreload = true\ndrain_delay = "100ms"\n[plugins.pool]\n'
        f"url = '{shared_postgres.url}'\nmax_size = 4\n[plugins.queue]\nconsumers = 'service:consumers'\n{lines}\n"
    )
    with ExitStack() as stack:
        yield [stack.enter_context(Supervised(toml, {"service": SERVICE})) for _ in range(2)]


def kill_one(instances: list[Service], number: int) -> None:
    """Kill a worker, and every fifth time an instance, which is started again."""
    service = instances[number % 2]
    if number % 5 == 4:
        service.kill()
        service.start()
    elif workers := workers_of(service):
        os.kill(workers[number % len(workers)], signal.SIGKILL)


@pytest.mark.needs("postgres")
def test_no_tick_is_missed_and_none_has_its_effect_twice(
    instances: list[Service], shared_postgres: Postgres, record_property: Callable[[str, object], None]
) -> None:
    kills = 0
    deadline = time.monotonic() + LIMIT
    while int(shared_postgres.sql("SELECT count(*) FROM effects")) < TICKS or kills < MIN_KILLS:
        assert time.monotonic() < deadline, instances[0].log()
        time.sleep(KILL_INTERVAL)
        kill_one(instances, kills)
        kills += 1
    end = int(time.time() * 1000) // 1000 * 1000
    wait_for("effects", lambda: missing_until(end, shared_postgres) == 0, limit=LIMIT)
    counted = shared_postgres.sql("SELECT count(*) - count(DISTINCT (schedule, due)), count(*) FROM effects")
    twice, total = counted.split("|")
    record_property("ticks", total)
    print(f"ticks: {total}, kills: {kills}")
    assert twice == "0"


def missing_until(end: int, postgres: Postgres) -> int:
    """Return the number of ticks without an effect, from the first one of each schedule to *end*, in milliseconds."""
    period = f"(CASE schedule WHEN 'tick0' THEN {PERIOD * 5} ELSE {PERIOD} END)"
    found = postgres.sql(
        "SELECT sum(expected - found), count(*) FROM (SELECT schedule, count(DISTINCT due) AS found,"
        f" ({end} - min(due)) / {period} + 1 AS expected FROM effects WHERE due <= {end} GROUP BY schedule) AS counted"
    )
    missing, schedules = map(int, found.split("|"))
    return missing + SCHEDULES - schedules
