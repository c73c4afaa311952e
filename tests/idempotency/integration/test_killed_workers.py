"""Each key has one effect and one response, though workers and the database are killed during concurrent requests."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator

import pytest

from tests.idempotency.load import APPLICATION, TABLES, Load, numbers_by_item, schedule
from tests.servers import Postgres, Replica
from tests.workers import supervised, wait_for_new_workers, workers_of

pytestmark = [pytest.mark.anyio, pytest.mark.needs("postgres")]

LIMIT = 120.0
"""Seconds until requests that never get a response fail the test."""
REQUESTS, CLIENTS, WORKERS, KILLS = 2000, 24, 3, 4
FAILOVER = 3
"""Part of the requests after which the primary is killed and the standby promoted."""
# A commit whose wait for the standby is ended by statement_timeout succeeds, and a failover may lose it.
TOML = """
[plugins.pool]
urls = ["{primary}", "{standby}"]
statement_timeout = "60s"
acquire_timeout = "2s"
sslmode = "disable"
max_size = 8
[plugins.idempotency]
"""


@pytest.fixture
def servers() -> Iterator[tuple[Postgres, Replica]]:
    """Yield a primary, and a standby that has every committed transaction."""
    with Postgres("max_connections=100") as primary:
        primary.sql(TABLES)
        with primary.replica("standby") as standby:
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
            primary.sql("SELECT pg_reload_conf()")
            yield primary, standby


def fail_over(primary: Postgres, standby: Replica) -> None:
    primary.kill()
    standby.sql("SELECT pg_promote()")


async def test_every_key_has_one_effect_and_a_linearizable_history(servers: tuple[Postgres, Replica]) -> None:
    primary, standby = servers
    with supervised(WORKERS, TOML.format(primary=primary.url, standby=standby.url), APPLICATION) as service:
        load = Load(service.port, CLIENTS)
        running = asyncio.create_task(asyncio.wait_for(load.run(schedule(REQUESTS)), LIMIT))
        for part in range(1, KILLS + 2):
            while load.sent < part * REQUESTS // (KILLS + 2) and not running.done():
                await asyncio.sleep(0.01)
            if part == FAILOVER:
                await asyncio.to_thread(fail_over, primary, standby)
                continue
            workers = await asyncio.to_thread(wait_for_new_workers, service, [], WORKERS)
            os.kill(random.choice(workers), signal.SIGKILL)
        await running
        assert len(workers_of(service)) > 0
    orders = numbers_by_item(standby.sql("SELECT item, id FROM orders"))
    assert load.violations(orders) == []
    assert len(orders) == round(REQUESTS * 0.7)
    assert int(standby.sql("SELECT sum(sold) FROM stock")) == len(orders)
    assert load.count("unknown") > 0
    assert load.count("replayed") > REQUESTS / 10
