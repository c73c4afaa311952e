"""Count, show, replay and purge messages in PostgreSQL, for the commands and the console."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager

import orjson

from scalekit import Context
from scalekit.contracts import Database, DatabaseSchema, Row
from scalekit_queue.config import QueueConfig
from scalekit_queue.envelope import Envelope
from scalekit_queue.postgres.database import running_database
from scalekit_queue.postgres.store import encode_headers
from scalekit_queue.postgres.tables import IS_HELD, TABLES
from scalekit_queue.transport import QueueDepth

MAX_BODY = 2**30
"""Bytes that a value of PostgreSQL can have."""
PURGE_BATCH = 5000
"""Messages that one transaction deletes."""

# One probe of the index for each name, however many messages there are.
NAMES = """
WITH RECURSIVE names AS (
  (SELECT name FROM {table} ORDER BY name LIMIT 1)
  UNION ALL SELECT (SELECT name FROM {table} WHERE name > names.name ORDER BY name LIMIT 1)
  FROM names WHERE names.name IS NOT NULL
)
SELECT name FROM names WHERE name IS NOT NULL
"""
COUNT = f"""
SELECT count(*) FILTER (WHERE NOT held AND due <= now()), count(*) FILTER (WHERE NOT held AND due > now()),
  count(*) FILTER (WHERE held), (SELECT count(*) FROM scalekit_queue_dead_letters WHERE name = :name),
  min(published) FILTER (WHERE NOT held AND due <= now())
FROM (SELECT due, published, {IS_HELD} AS held FROM scalekit_queue_messages WHERE name = :name) AS message
"""
_CONTENT = "number, id, published, headers, substr(body, 1, :max_body) AS body"
PEEK_READY = f"""
SELECT {_CONTENT} FROM scalekit_queue_messages WHERE name = :name AND NOT ({IS_HELD})
ORDER BY due, number LIMIT :limit
"""
PEEK_DEAD = f"SELECT {_CONTENT} FROM scalekit_queue_dead_letters WHERE name = :name ORDER BY number LIMIT :limit"
FIND_DEAD_LETTER = f"""
SELECT {_CONTENT} FROM scalekit_queue_dead_letters WHERE name = :name AND id = :id ORDER BY number LIMIT 1
"""
_SELECTED = "(:is_any OR id = ANY(CAST(:ids AS text[])))"
SELECT_REPLAYED = f"""
SELECT number, id, published, headers FROM scalekit_queue_dead_letters WHERE name = :name AND {_SELECTED}
ORDER BY number LIMIT :limit FOR UPDATE
"""
REPLAY = """
WITH replayed AS (
  DELETE FROM scalekit_queue_dead_letters AS letter
  USING unnest(CAST(:numbers AS bigint[]), CAST(:headers AS text[])) AS replay (number, headers)
  WHERE letter.number = replay.number RETURNING letter.number, name, id, published, replay.headers, body
)
INSERT INTO scalekit_queue_messages (name, due, id, published, headers, body)
SELECT name, now(), id, published, headers, body FROM replayed ORDER BY number
"""
PURGE_READY = f"""
DELETE FROM scalekit_queue_messages WHERE number IN (
  SELECT number FROM scalekit_queue_messages WHERE name = :name AND NOT ({IS_HELD}) AND {_SELECTED}
  LIMIT :limit FOR UPDATE SKIP LOCKED
) RETURNING 1
"""
PURGE_DEAD = f"""
DELETE FROM scalekit_queue_dead_letters WHERE number IN (
  SELECT number FROM scalekit_queue_dead_letters WHERE name = :name AND {_SELECTED} LIMIT :limit FOR UPDATE SKIP LOCKED
) RETURNING 1
"""


@asynccontextmanager
async def open_postgres_admin(config: QueueConfig, context: Context) -> AsyncGenerator[PostgresAdmin, None]:
    """Use the database of the running transport, or open it while inside."""
    async with running_database(config, context) as database:
        await DatabaseSchema("queue", database, *TABLES).create()
        yield PostgresAdmin(database, config.prefix)


class PostgresAdmin:
    """Implements :class:`scalekit_queue.transport.QueueAdmin` for the messages in *database* with *prefix*."""

    def __init__(self, database: Database, prefix: str) -> None:
        self._database = database
        self._prefix = prefix

    async def names(self) -> list[str]:
        """Return the names of all messages and dead letters."""
        found: set[str] = set()
        for table in ("scalekit_queue_messages", "scalekit_queue_dead_letters"):
            found.update(row[0] for row in await self._database.fetch_all(NAMES.format(table=table)))
        return sorted(name.removeprefix(self._prefix) for name in found if name.startswith(self._prefix))

    async def depth(self, name: str, delay_queues: Collection[str] = ()) -> QueueDepth:
        """Count the messages named *name*."""
        row = await self._database.fetch_one(COUNT, {"name": self._prefix + name})
        return QueueDepth(name, *(row or ()))

    async def peek(self, name: str, dead: bool, limit: int, max_body: int | None = None) -> list[Envelope]:
        """Return the first messages named *name* that are not in flight."""
        values = {"name": self._prefix + name, "limit": limit, "max_body": MAX_BODY if max_body is None else max_body}
        rows = await self._database.fetch_all(PEEK_DEAD if dead else PEEK_READY, values)
        return [_envelope(name, row) for row in rows]

    async def find_dead_letter(self, name: str, identifier: str) -> Envelope | None:
        """Return the oldest dead letter with the id *identifier*."""
        values = {"name": self._prefix + name, "id": identifier, "max_body": MAX_BODY}
        row = await self._database.fetch_one(FIND_DEAD_LETTER, values)
        return None if row is None else _envelope(name, row)

    async def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Return dead letters to the queue; return their number."""
        selected = {**self._selected(name, ids), "limit": None if ids else limit}
        async with self._database.transaction():
            rows = await self._database.fetch_all(SELECT_REPLAYED, selected)
            headers = [encode_headers(_envelope(name, row).as_replay()) for row in rows]
            await self._database.execute(REPLAY, {"numbers": [row[0] for row in rows], "headers": headers})
        return len(rows)

    async def purge(self, name: str, dead: bool, ids: Sequence[str] = ()) -> int:
        """Delete messages, some in each transaction; return their number."""
        values = {**self._selected(name, ids), "limit": PURGE_BATCH}
        count = 0
        while rows := await self._database.fetch_all(PURGE_DEAD if dead else PURGE_READY, values):
            count += len(rows)
        return count

    def _selected(self, name: str, ids: Sequence[str]) -> dict[str, object]:
        return {"name": self._prefix + name, "is_any": not ids, "ids": list(ids)}


def _envelope(name: str, row: Row) -> Envelope:
    body = row[4] if len(row) > 4 else b""
    return Envelope(name, row[1], body, row[2], orjson.loads(row[3]))
