"""Each key has one effect and one response, though workers are killed while clients repeat requests concurrently."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import pytest

from tests.idempotency.load import APPLICATION, TABLES, Load, numbers_by_item, schedule
from tests.servers import Postgres
from tests.workers import supervised, wait_for_new_workers, workers_of

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

LIMIT = 120.0
"""Seconds until requests that never get a response fail the test."""
REQUESTS, CLIENTS, WORKERS, KILLS = 2000, 24, 3, 4
TOML = """
[plugins.pool]
url = "{url}"
sslmode = "disable"
max_size = 8
[plugins.idempotency]
"""


async def test_every_key_has_one_effect_and_a_linearizable_history(shared_postgres: Postgres) -> None:
    shared_postgres.sql(f"DROP SCHEMA public CASCADE; CREATE SCHEMA public; {TABLES}")
    with supervised(WORKERS, TOML.format(url=shared_postgres.url), APPLICATION) as service:
        load = Load(service.port, CLIENTS)
        running = asyncio.create_task(asyncio.wait_for(load.run(schedule(REQUESTS)), LIMIT))
        for number in range(1, KILLS + 1):
            while load.sent < number * REQUESTS // (KILLS + 1) and not running.done():
                await asyncio.sleep(0.01)
            workers = await asyncio.to_thread(wait_for_new_workers, service, [], WORKERS)
            os.kill(random.choice(workers), signal.SIGKILL)
        await running
        assert len(workers_of(service)) > 0
    orders = numbers_by_item(shared_postgres.sql("SELECT item, id FROM orders"))
    assert load.violations(orders) == []
    assert len(orders) == round(REQUESTS * 0.7)
    assert int(shared_postgres.sql("SELECT sum(sold) FROM stock")) == len(orders)
    assert load.count("unknown") > 0
    assert load.count("replayed") > REQUESTS / 10
