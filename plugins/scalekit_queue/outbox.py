"""Messages that lie in the application's database until the transaction that they belong to is committed.

One relay at a time, of all processes, takes them from there in their order, and forgets them once they are safe in the
queue. When it dies between the two they are published again, under the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import time
from typing import Any

import orjson

from scalekit.contracts import Database, PublishFailed, Row, Statements
from scalekit_queue.envelope import Envelope
from scalekit_queue.schema import OutboxSchema

STORE = """
INSERT INTO scalekit_queue_outbox (name, id, body, headers, published, delay, due, claimed)
VALUES (:name, :id, :body, :headers, :published, :delay, 0, 0)
"""
COLUMNS = "number, name, id, body, headers, published, delay"
LOCK = 0x5CA1E418
"""PostgreSQL's advisory lock of the relay."""
LOCKED = "SELECT pg_try_advisory_xact_lock(:lock)"
TAKE = f"""
SELECT {COLUMNS} FROM scalekit_queue_outbox WHERE due <= :now
ORDER BY number LIMIT :limit FOR UPDATE SKIP LOCKED
"""
# SQLite has one writer, which would wait for the broker too: rows are claimed for a while instead.
CLAIM = f"""
UPDATE scalekit_queue_outbox SET claimed = :until WHERE number IN (
  SELECT number FROM scalekit_queue_outbox WHERE due <= :now ORDER BY number LIMIT :limit
) AND NOT EXISTS (SELECT 1 FROM scalekit_queue_outbox WHERE claimed > :now) RETURNING {COLUMNS}
"""
UNCLAIM = "UPDATE scalekit_queue_outbox SET claimed = 0 WHERE claimed = :until"
FORGET = "DELETE FROM scalekit_queue_outbox WHERE number = :number"
POSTPONE = "UPDATE scalekit_queue_outbox SET due = :due, claimed = 0 WHERE number = :number"
OLDEST = "SELECT published FROM scalekit_queue_outbox ORDER BY number LIMIT 1"

SEND_LIMIT = 5.0
CLAIMED_FOR = 2 * SEND_LIMIT
POSTPONED_FOR = 2.0
"""Seconds before a message that could not be published is tried again, after those behind it."""

Send = Callable[[Sequence[Envelope], float], Awaitable[list["PublishFailed | None"]]]
Headers = Callable[[], Awaitable[dict[str, str]]]


class Outbox:
    """Messages in *database* on their way to *send*; *committed* gives the headers that tell what was committed."""

    def __init__(self, database: Database, tables: OutboxSchema, send: Send, committed: Headers, batch: int) -> None:
        self._database = database
        self._tables = tables
        self._send = send
        self._committed = committed
        self._batch = batch
        self.stored = asyncio.Event()

    async def store(self, database: Statements, envelope: Envelope) -> None:
        """Store *envelope* in the transaction of *database*."""
        await self._tables.make_inside(database)
        await database.execute(STORE, _values(envelope))
        self.stored.set()

    async def relay(self) -> int:
        """Publish what is committed, some at a time; return how many messages became safe."""
        await self._tables.make()
        if self._database.dialect == "sqlite":
            return await self._relay_claimed()
        async with self._database.transaction():
            if not await self._database.fetch_val(LOCKED, {"lock": LOCK}):
                return 0
            rows = await self._database.fetch_all(TAKE, {"now": time(), "limit": self._batch})
            return await self._pass_on(rows)

    async def lag(self) -> float:
        """Return the age of the oldest message, in seconds; 0 where there is none."""
        oldest = await self._database.fetch_val(OLDEST)
        return 0.0 if oldest is None else max(0.0, time() - oldest)

    async def _relay_claimed(self) -> int:
        now = time()
        values = {"now": now, "until": now + CLAIMED_FOR, "limit": self._batch}
        rows = await self._database.fetch_all(CLAIM, values)
        try:
            return await self._pass_on(sorted(rows, key=lambda row: int(row[0])))
        except asyncio.CancelledError:  # this process ends: another need not wait until the claim is over
            await self._database.execute(UNCLAIM, {"until": values["until"]})
            raise

    async def _pass_on(self, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        headers = await self._committed()
        results = await self._send([_envelope(row, headers) for row in rows], SEND_LIMIT)
        safe = [row[0] for row, failed in zip(rows, results, strict=True) if failed is None]
        late = [row[0] for row, failed in zip(rows, results, strict=True) if failed is not None]
        if safe:
            await self._database.execute_many(FORGET, [{"number": number} for number in safe])
        if late:
            due = time() + POSTPONED_FOR
            await self._database.execute_many(POSTPONE, [{"number": number, "due": due} for number in late])
        return len(safe)


def _values(envelope: Envelope) -> dict[str, Any]:
    return {
        "name": envelope.name,
        "id": envelope.id,
        "body": envelope.body.decode(),
        "headers": orjson.dumps(envelope.headers).decode(),
        "published": envelope.published,
        "delay": envelope.delay,
    }


def _envelope(row: Row, committed: Mapping[str, str]) -> Envelope:
    _, name, identifier, body, headers, published, delay = row[0], row[1], row[2], row[3], row[4], row[5], row[6]
    return Envelope(name, identifier, body.encode(), published, {**orjson.loads(headers), **committed}, delay)
