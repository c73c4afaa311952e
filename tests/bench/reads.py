"""Cost of reading one row of PostgreSQL through READS, compared with DATABASE."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median

import uvloop

from scalekit import create_app
from scalekit.contracts import CONSISTENCY_TOKENS, DATABASE, READS, Statements
from scalekit.contracts.consistency import CONSISTENCY, Consistency
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from tests.bench.row import Goal, Row
from tests.servers import Postgres

READS_A_ROUND = 500
UNIT = "µs of CPU"


def measure(rounds: int) -> list[Row]:
    """Return the cost of a read through DATABASE and through READS."""
    with Postgres() as primary:
        primary.sql("CREATE TABLE items (id integer PRIMARY KEY, name text); INSERT INTO items VALUES (1, 'one')")
        with primary.replica("one") as one, primary.replica("two") as two:
            replica = {"urls": [one.url, two.url], "secret": "only for this measurement, and no other"}
            return uvloop.run(_measure({"pool": {"url": primary.url}, "replica": replica}, rounds))


async def _measure(plugins: dict[str, object], rounds: int) -> list[Row]:
    host = create_app({"plugins": plugins}, app=bare_application)
    async with running(host):
        database, reads = host.context.get(DATABASE), host.context.get(READS)
        await _remember_a_write(host.context.get(CONSISTENCY_TOKENS).issue)
        if await reads.fetch_val("SELECT pg_is_in_recovery()") is not True:
            raise RuntimeError("READS does not read from a replica")
        pairs = [(await _cpu_of(database), await _cpu_of(reads)) for _ in range(rounds)]
    before, after = median(one for one, _ in pairs), median(other for _, other in pairs)
    more, ratio = median(b - a for a, b in pairs), median(b / a for a, b in pairs)
    first = Row("replica", "a row of PostgreSQL: DATABASE", before, UNIT)
    return [first, Row("replica", "— READS, two replicas", after, UNIT, first.title, more, ratio, Goal("more", 15))]


async def _remember_a_write(issue: Callable[[Consistency], Awaitable[str]]) -> None:
    """Be a client that has written before, for whom positions are compared."""
    consistency = Consistency()
    consistency.wrote = True
    await issue(consistency)
    CONSISTENCY.set(consistency)


async def _cpu_of(database: Statements) -> float:
    began = time.process_time()
    for _ in range(READS_A_ROUND):
        await database.fetch_one("SELECT id, name FROM items WHERE id = :id", {"id": 1})
    return (time.process_time() - began) / READS_A_ROUND * 1e6
