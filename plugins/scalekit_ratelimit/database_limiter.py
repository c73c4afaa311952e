"""Count hits in PostgreSQL, shared by all instances."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextvars import Context
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from scalekit.contracts import Database, DatabaseSchema, TableDefinition
from scalekit_ratelimit.headers import HitResults
from scalekit_ratelimit.hit_batcher import HitBatcher
from scalekit_ratelimit.limits import Hit, LimitState
from scalekit_ratelimit.shared_limiter import DatabaseUnavailable, PendingHits

if TYPE_CHECKING:
    from scalekit_ratelimit.limit_checks import SingleLimit

logger = logging.getLogger("scalekit.ratelimit")

PAGE = 5000
"""Counters that one statement examines."""
PAGES = 20
"""Statements of one removal; the next one continues."""
REMOVAL_INTERVAL = 60.0
"""Mean seconds between two removals of expired counters, which processes do not begin at the same time."""
REMOVAL_TIMEOUT = 5.0
"""Seconds that one of their statements may take."""

# A hit changes no indexed column, so that the new version of the row stays in its page (HOT update), for which the fill
# factor leaves space. The table is not logged: a hit waits for no disk, and a crash of the server deletes the counters.
COUNTERS = TableDefinition(
    ("scalekit_ratelimit", "scalekit_ratelimit_hit_v1"),
    (
        """
CREATE UNLOGGED TABLE IF NOT EXISTS scalekit_ratelimit (
  key TEXT COLLATE "C" PRIMARY KEY,
  expires BIGINT NOT NULL,
  times BIGINT[]
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0)
""",
        files("scalekit_ratelimit").joinpath("combined_limits.sql").read_text(),
    ),
)
_HIT = "SELECT scalekit_ratelimit_hit_v1(:requests, :keys, :windows, :units, :totals, :costs, :dry_runs)"
_RESET = """
DELETE FROM scalekit_ratelimit WHERE key IN (
  SELECT key FROM scalekit_ratelimit WHERE key = ANY(:keys) ORDER BY key FOR UPDATE)
"""
_NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
_REMOVE_EXPIRED = f"""
WITH page AS MATERIALIZED (
  SELECT key, expires FROM scalekit_ratelimit WHERE key > :after ORDER BY key LIMIT :limit
), removed AS (
  DELETE FROM scalekit_ratelimit WHERE key IN (
    SELECT key FROM scalekit_ratelimit WHERE key IN (SELECT key FROM page WHERE expires <= {_NOW})
      AND expires <= {_NOW} FOR UPDATE SKIP LOCKED) RETURNING key
)
SELECT max(key), count(*) FROM page
"""


class DatabaseLimiter:
    """Counts in *database*; a request waits at most *timeout* seconds."""

    store = "the database"

    def __init__(self, database: Database, timeout: float) -> None:
        self._database = database
        self._schema = DatabaseSchema("ratelimit", database, COUNTERS)
        self._timeout = timeout
        self.batcher = HitBatcher(self._count, timeout)

    async def start(self) -> None:
        """Create the table as soon as the database accepts writes."""
        await self._schema.create_at_start()

    def send_gcra(self, limit: SingleLimit, key: str) -> asyncio.Future[Any]:
        """Submit a hit on one limit and return the future of its state; raises DatabaseUnavailable."""
        cost = limit.increment // limit.limit.emission_interval
        return self.batcher.submit([Hit(limit.limit, key, cost, False)])

    def read_gcra(self, limit: SingleLimit, reply: asyncio.Future[Any]) -> int:
        """Return the slack, once it is known; raises DatabaseUnavailable."""
        state: LimitState = reply.result()[0]
        return limit.limit.tolerance - state.reset if state.allowed else -state.retry_after

    def send_hits(self, pending: PendingHits) -> asyncio.Future[Any]:
        """Submit hits of which all or none are counted; raises DatabaseUnavailable."""
        return pending.set_replies([(pending.hits, self.batcher.submit(pending.hits))])

    def read_replies(self, pending: PendingHits) -> HitResults:
        """Return the state of each limit, once it is known; raises DatabaseUnavailable."""
        return [result for hits, reply in pending.replies for result in zip(hits, reply.result(), strict=True)]

    async def reset(self, hits: Sequence[Hit]) -> None:
        """Delete the counters of *hits*; raises DatabaseUnavailable."""

        async def delete() -> None:
            await self._schema.create()
            await self._database.execute(_RESET, {"keys": [_key_of(hit) for hit in hits]})

        try:
            async with asyncio.timeout(self._timeout):
                # In a context of its own, as hits are: the transaction of the request may be rolled back.
                await asyncio.get_running_loop().create_task(delete(), context=Context())
        except TimeoutError:
            raise DatabaseUnavailable(f"no reply within {self._timeout:g} s", "timeout") from None
        except Exception as error:
            raise DatabaseUnavailable(str(error), "failed") from None

    async def probe(self, timeout: float = 1.0) -> None:
        """Return when the database counts within *timeout* seconds; raises DatabaseUnavailable."""
        try:
            async with asyncio.timeout(timeout):
                await self._count([])
        except TimeoutError:
            raise DatabaseUnavailable(f"the database did not count within {timeout:g} s", "timeout") from None
        except Exception as error:
            raise DatabaseUnavailable(str(error), "failed") from None

    async def remove_expired(self, after: str = "") -> str:
        """Remove the expired ones of PAGE counters whose keys follow *after*; return the last key, empty at the end."""
        await self._schema.create()
        row = await self._database.fetch_one(_REMOVE_EXPIRED, {"after": after, "limit": PAGE})
        return row[0] if row is not None and row[1] == PAGE else ""

    async def run_removals(self) -> None:
        """Remove expired counters until cancelled, PAGES pages in each interval; log an error."""
        after, failed = "", False
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5) * REMOVAL_INTERVAL)
            try:
                for _ in range(PAGES):
                    async with asyncio.timeout(REMOVAL_TIMEOUT):
                        after = await self.remove_expired(after)
                    if not after:
                        break
                failed = False
            except Exception as error:
                if not failed:
                    reason = str(error) or type(error).__name__
                    logger.warning("expired counters cannot be removed, will retry in about a minute: %s", reason)
                failed = True

    async def _count(self, requests: Sequence[Sequence[Hit]]) -> list[list[LimitState]]:
        """Count the hits of *requests* in one statement; return the states of each."""
        await self._schema.create()
        numbers = await self._database.fetch_val(_HIT, _values(requests))
        states = [LimitState(bool(numbers[at]), *numbers[at + 1 : at + 4]) for at in range(0, len(numbers), 4)]
        remaining = iter(states)
        return [[next(remaining) for _ in hits] for hits in requests]


def _values(requests: Sequence[Sequence[Hit]]) -> dict[str, list[Any]]:
    hits = [(number, hit) for number, request in enumerate(requests) for hit in request]
    limits = [(hit.limit, hit.limit.algorithm == "sliding-window") for _, hit in hits]
    return {
        "requests": [number for number, _ in hits],
        "keys": [_key_of(hit) for _, hit in hits],
        "windows": [is_window for _, is_window in limits],
        "units": [limit.quota if is_window else limit.emission_interval for limit, is_window in limits],
        "totals": [limit.window if is_window else limit.tolerance for limit, is_window in limits],
        "costs": [hit.cost for _, hit in hits],
        "dry_runs": [hit.dry_run for _, hit in hits],
    }


def _key_of(hit: Hit) -> str:
    return f"{hit.key}{hit.limit.key_suffix}"
