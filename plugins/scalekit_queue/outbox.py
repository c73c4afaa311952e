"""The transactional outbox: messages are stored in a database transaction and published after its commit.

One relay at a time, of all processes, publishes the rows in order and deletes them once they are confirmed. A relay
that is killed in between leaves rows that are published again, under the same message id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import time

import orjson

from scalekit.contracts import Database, DatabaseSchema, PublishFailed, Row, Statements, TableDefinition
from scalekit_queue.envelope import Envelope
from scalekit_queue.metrics import PublishMetrics

logger = logging.getLogger("scalekit.queue")

OUTBOX_TABLE = TableDefinition(
    ("scalekit_queue_outbox",),
    (
        """
CREATE TABLE IF NOT EXISTS scalekit_queue_outbox (
  number {number},
  name TEXT NOT NULL,
  id TEXT NOT NULL,
  body TEXT NOT NULL,
  headers TEXT NOT NULL,
  published DOUBLE PRECISION NOT NULL,
  delay DOUBLE PRECISION NOT NULL,
  due DOUBLE PRECISION NOT NULL,
  claimed DOUBLE PRECISION NOT NULL
)
""",
    ),
)
INSERT = """
INSERT INTO scalekit_queue_outbox (name, id, body, headers, published, delay, due, claimed)
VALUES (:name, :id, :body, :headers, :published, :delay, 0, 0)
"""
COLUMNS = "number, name, id, body, headers, published, delay"
RELAY_LOCK = 0x5CA1E418
"""PostgreSQL's advisory lock of the relays, with the hash of their prefix."""
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(:lock, hashtext(CAST(:prefix AS text)))"
# Services that share a database have prefixes of their own.
_OWN = "substr(name, 1, length(CAST(:prefix AS text))) = CAST(:prefix AS text)"
SELECT_DUE = f"""
SELECT {COLUMNS} FROM scalekit_queue_outbox WHERE due <= :now AND {_OWN}
ORDER BY number LIMIT :limit FOR UPDATE SKIP LOCKED
"""
# SQLite has one writer: a transaction that waits for the broker would block it, so rows are claimed for a time instead.
CLAIM_DUE = f"""
UPDATE scalekit_queue_outbox SET claimed = :until WHERE number IN (
  SELECT number FROM scalekit_queue_outbox WHERE due <= :now AND {_OWN} ORDER BY number LIMIT :limit
) AND NOT EXISTS (SELECT 1 FROM scalekit_queue_outbox WHERE claimed > :now AND {_OWN}) RETURNING {COLUMNS}
"""
RELEASE_CLAIM = f"UPDATE scalekit_queue_outbox SET claimed = 0 WHERE claimed = :until AND {_OWN}"
DELETE = "DELETE FROM scalekit_queue_outbox WHERE number = :number"
POSTPONE = "UPDATE scalekit_queue_outbox SET due = :due, claimed = 0 WHERE number = :number"
MAX_COUNTED = 10_000
"""Messages in the outbox that are counted."""
COUNT = f"SELECT count(*) FROM (SELECT 1 FROM scalekit_queue_outbox WHERE {_OWN} LIMIT {MAX_COUNTED + 1}) AS own"
OLDEST = f"SELECT published FROM scalekit_queue_outbox WHERE {_OWN} ORDER BY number LIMIT 1"

PUBLISH_TIMEOUT = 5.0
"""Seconds within which the broker must confirm a batch."""
CLAIM_TTL = 2 * PUBLISH_TIMEOUT
"""Seconds for which a relay claims rows of SQLite."""
RETRY_DELAY = 2.0
"""Seconds before a message that could not be published is tried again, behind later messages."""
MIN_RELAY_INTERVAL = 0.005
"""Seconds until the first poll after a message was stored, whose transaction is not committed yet."""
RELAY_ERROR_DELAY = 1.0
"""Seconds before the relay continues after an error."""

Send = Callable[[Sequence[Envelope], float], Awaitable[list["PublishFailed | None"]]]
Headers = Callable[[], Awaitable[dict[str, str]]]


class Outbox:
    """Stores messages in *database* and publishes them with *send*, *batch* at a time, for the service with *prefix*.

    *committed_headers* returns the header with the consistency token of all committed writes.
    """

    def __init__(
        self,
        database: Database,
        schema: DatabaseSchema,
        send: Send,
        committed_headers: Headers,
        *,
        prefix: str,
        batch: int,
    ) -> None:
        self._database = database
        self._schema = schema
        self._send = send
        self._committed_headers = committed_headers
        self._prefix = prefix
        self._batch = batch
        self.stored = asyncio.Event()

    async def store(self, database: Statements, envelope: Envelope) -> None:
        """Insert *envelope* in the current transaction of *database*."""
        await self._schema.create_in_transaction(database)
        await database.execute(INSERT, _values(self._prefix, envelope))
        self.stored.set()

    async def relay(self) -> int:
        """Publish one batch of committed messages; return the number of messages confirmed."""
        await self._schema.create()
        if self._database.dialect == "sqlite":
            return await self._relay_claimed()
        async with self._database.transaction():
            if not await self._database.fetch_val(TRY_LOCK, {"lock": RELAY_LOCK, "prefix": self._prefix}):
                return 0
            values = {"now": time(), "limit": self._batch, "prefix": self._prefix}
            rows = await self._database.fetch_all(SELECT_DUE, values)
            return await self._publish_rows(rows)

    async def lag(self) -> float:
        """Return the age of the oldest message in seconds, or 0 when the outbox is empty."""
        oldest = await self._database.fetch_val(OLDEST, {"prefix": self._prefix})
        return 0.0 if oldest is None else max(0.0, time() - oldest)

    async def depth(self) -> int:
        """Return the number of messages, at most MAX_COUNTED + 1."""
        return int(await self._database.fetch_val(COUNT, {"prefix": self._prefix}) or 0)

    async def _relay_claimed(self) -> int:
        now = time()
        values = {"now": now, "until": now + CLAIM_TTL, "limit": self._batch, "prefix": self._prefix}
        rows = await self._database.fetch_all(CLAIM_DUE, values)
        try:
            return await self._publish_rows(sorted(rows, key=lambda row: int(row[0])))
        except asyncio.CancelledError:  # at shutdown: other processes need not wait until the claim expires
            await self._database.execute(RELEASE_CLAIM, {"until": values["until"], "prefix": self._prefix})
            raise

    async def _publish_rows(self, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        headers = await self._committed_headers()
        results = await self._send([_envelope(self._prefix, row, headers) for row in rows], PUBLISH_TIMEOUT)
        confirmed = [row[0] for row, failure in zip(rows, results, strict=True) if failure is None]
        failed = [row[0] for row, failure in zip(rows, results, strict=True) if failure is not None]
        if confirmed:
            await self._database.execute_many(DELETE, [{"number": number} for number in confirmed])
        if failed:
            due = time() + RETRY_DELAY
            await self._database.execute_many(POSTPONE, [{"number": number, "due": due} for number in failed])
        return len(confirmed)


async def run_relay(outbox: Outbox, max_interval: float, metrics: PublishMetrics) -> None:
    """Poll *outbox* until cancelled: often after a store in this process, else every *max_interval* seconds."""
    interval = MIN_RELAY_INTERVAL
    while True:
        outbox.stored.clear()
        relayed = await _relay_batch(outbox, metrics)
        if relayed:
            interval = MIN_RELAY_INTERVAL
            continue
        try:
            async with asyncio.timeout(interval):
                await outbox.stored.wait()
            interval = MIN_RELAY_INTERVAL
        except TimeoutError:
            interval = min(max_interval, interval * 2)


async def _relay_batch(outbox: Outbox, metrics: PublishMetrics) -> int:
    try:
        count = await outbox.relay()
        metrics.relayed.inc(count)
        metrics.outbox_lag.set(await outbox.lag())
    except Exception as error:
        logger.warning("relaying the outbox failed, next attempt in %gs: %s", RELAY_ERROR_DELAY, error)
        await asyncio.sleep(RELAY_ERROR_DELAY)
        return 0
    return count


def _values(prefix: str, envelope: Envelope) -> dict[str, object]:
    return {
        "name": prefix + envelope.name,
        "id": envelope.id,
        "body": envelope.body.decode(),
        "headers": orjson.dumps(envelope.headers).decode(),
        "published": envelope.published,
        "delay": envelope.delay,
    }


def _envelope(prefix: str, row: Row, committed: Mapping[str, str]) -> Envelope:
    _, name, identifier, body, headers, published, delay = row[0], row[1], row[2], row[3], row[4], row[5], row[6]
    merged = {**orjson.loads(headers), **committed}
    return Envelope(name.removeprefix(prefix), identifier, body.encode(), published, merged, delay=delay)
