"""The message store: the SQL statements on the tables, each for a batch of messages, by the clock of the server.

A process that consumes has a lease, a row with the time at which it expires. A received message belongs to the lease of
its process: it is delivered to others once the lease has expired, so messages of a killed process are delivered again.
A delivery tag, which only grows, identifies each delivery, so that settling one after a later delivery has no effect.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import orjson

from scalekit.contracts import Database, DatabaseSchema, Row, Statements
from scalekit_queue.envelope import Envelope
from scalekit_queue.postgres.tables import IS_HELD, TABLES

# What is due at once with a priority is ordered by it, before all else.
INSERT = """
INSERT INTO scalekit_queue_messages (name, due, id, published, headers, body)
SELECT name, CASE WHEN priority > 0 AND delay = 0 THEN to_timestamp(-priority)
  ELSE now() + delay * interval '1 second' END, id, published, headers, body
FROM unnest(CAST(:names AS text[]), CAST(:delays AS float8[]), CAST(:ids AS text[]), CAST(:published AS float8[]),
  CAST(:headers AS text[]), CAST(:bodies AS bytea[]), CAST(:priorities AS integer[]))
  AS message (name, delay, id, published, headers, body, priority)
"""
RECEIVE = f"""
WITH ready AS MATERIALIZED (
  SELECT number FROM scalekit_queue_messages
  WHERE name = :name AND due <= now() AND NOT ({IS_HELD})
    AND EXISTS (SELECT 1 FROM scalekit_queue_leases WHERE lease = :lease AND expires > now())
  ORDER BY due, number LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE scalekit_queue_messages AS message SET lease = :lease, tag = tag + 1, unsettled = unsettled + 1
FROM ready WHERE message.number = ready.number
RETURNING message.number, tag, unsettled, id, published, headers, body
"""
_DELIVERY = "message.number = delivery.number AND message.tag = delivery.tag AND message.lease IS NOT NULL"
_TAGS = "CAST(:numbers AS bigint[]), CAST(:tags AS integer[])"
_HEADERS = f"unnest({_TAGS}, CAST(:delays AS float8[]), CAST(:headers AS text[]))"
ACK = f"""
DELETE FROM scalekit_queue_messages AS message USING unnest({_TAGS}) AS delivery (number, tag)
WHERE {_DELIVERY} RETURNING message.number
"""
RETRY = f"""
UPDATE scalekit_queue_messages AS message
SET lease = NULL, unsettled = 0, due = now() + delivery.delay * interval '1 second', headers = delivery.headers
FROM {_HEADERS} AS delivery (number, tag, delay, headers) WHERE {_DELIVERY} RETURNING message.number
"""
DEAD_LETTER = f"""
WITH dead AS (
  DELETE FROM scalekit_queue_messages AS message USING {_HEADERS} AS delivery (number, tag, delay, headers)
  WHERE {_DELIVERY} RETURNING message.number, name, id, published, delivery.headers, body
), stored AS (
  INSERT INTO scalekit_queue_dead_letters (name, id, published, headers, body)
  SELECT name, id, published, headers, body FROM dead ORDER BY number
)
SELECT number FROM dead
"""
REQUEUE = f"""
UPDATE scalekit_queue_messages AS message SET lease = NULL, unsettled = unsettled - 1
FROM unnest({_TAGS}) AS delivery (number, tag) WHERE {_DELIVERY} RETURNING message.number
"""
RENEW_LEASE = """
INSERT INTO scalekit_queue_leases (lease, expires) VALUES (:lease, now() + CAST(:ttl AS float8) * interval '1 second')
ON CONFLICT (lease) DO UPDATE SET expires = excluded.expires
"""
END_LEASES = "DELETE FROM scalekit_queue_leases WHERE lease = ANY(CAST(:leases AS bigint[]))"
REPLACE_LEASES = f"""
WITH ended AS ({END_LEASES}), begun AS (
  INSERT INTO scalekit_queue_leases (lease, expires)
  VALUES (:lease, now() + CAST(:ttl AS float8) * interval '1 second')
)
UPDATE scalekit_queue_messages AS message SET lease = :lease FROM unnest({_TAGS}) AS delivery (number, tag)
WHERE {_DELIVERY} AND message.lease = ANY(CAST(:leases AS bigint[]))
"""
# Without SKIP LOCKED two processes that delete each other's lease would wait for each other.
DELETE_EXPIRED_LEASES = """
DELETE FROM scalekit_queue_leases WHERE lease IN (
  SELECT lease FROM scalekit_queue_leases WHERE expires < now() - interval '1 minute' FOR UPDATE SKIP LOCKED
)
"""
FIND_DUE = f"""
SELECT name FROM unnest(CAST(:names AS text[])) AS subscription (name) WHERE EXISTS (
  SELECT 1 FROM scalekit_queue_messages AS message
  WHERE message.name = subscription.name AND due <= now() AND NOT ({IS_HELD})
)
"""


class DeliveryKey(NamedTuple):
    """Identifies a delivery: the number of the message, and its delivery tag."""

    number: int
    tag: int


class Received(NamedTuple):
    """A received message; *unsettled* is the number of its deliveries since it was last settled, with this one."""

    tag: DeliveryKey
    unsettled: int
    envelope: Envelope


class Settlement(NamedTuple):
    """A delivery, and the delay and the headers, as JSON, that its message gets."""

    tag: DeliveryKey
    delay: float
    headers: str


class NewMessage(NamedTuple):
    """The columns of a message to insert."""

    name: str
    delay: float
    id: str
    published: float
    headers: str
    body: bytes
    priority: int


class PostgresStore:
    """The messages in *database* whose names begin with *prefix*, as the process with *lease* handles them."""

    def __init__(self, database: Database, prefix: str, lease: int) -> None:
        self._database = database
        self._schema = DatabaseSchema("queue", database, *TABLES)
        self._prefix = prefix
        self._lease = lease
        self._attempted: list[int] = []

    async def create_tables(self) -> None:
        """Create the tables, as soon as the database accepts writes."""
        await self._schema.create_at_start()

    def new_message(self, envelope: Envelope) -> NewMessage:
        """Return the columns of *envelope*; raise TypeError when its headers cannot be encoded."""
        name, headers = self._prefix + envelope.name, encode_headers(envelope)
        return NewMessage(
            name, envelope.delay, envelope.id, envelope.published, headers, envelope.body, envelope.priority
        )

    async def insert(self, messages: Sequence[NewMessage]) -> None:
        """Insert *messages*."""
        await self._run(INSERT, _columns(messages))

    async def insert_in_transaction(self, transaction: Statements, envelope: Envelope) -> None:
        """Insert *envelope* in the current transaction of *transaction*."""
        await self._schema.create_in_transaction(transaction)
        await transaction.execute(INSERT, _columns([self.new_message(envelope)]))

    async def receive(self, name: str, limit: int) -> list[Received]:
        """Return up to *limit* due messages, the oldest first, which then belong to the lease of this process."""
        values = {"name": self._prefix + name, "lease": self._lease, "limit": limit}
        rows = await self._run(RECEIVE, values)
        received = [_received(name, row) for row in rows]
        return sorted(received, key=lambda each: (-each.envelope.priority, each.tag.number))

    async def find_due(self, names: Collection[str]) -> list[str]:
        """Return those of *names* of which messages are due."""
        rows = await self._run(FIND_DUE, {"names": [self._prefix + name for name in names]})
        return [row[0].removeprefix(self._prefix) for row in rows]

    async def ack(self, tags: Sequence[DeliveryKey]) -> list[bool]:
        """Delete messages; return for each, in order, whether its tag had not expired."""
        return await self._settle(ACK, tags, {})

    async def requeue(self, tags: Sequence[DeliveryKey]) -> list[bool]:
        """Return messages to the queue unchanged; return for each, in order, whether its tag had not expired."""
        return await self._settle(REQUEUE, tags, {})

    async def retry(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Make messages due after their delay; return for each, in order, whether its tag had not expired."""
        return await self._settle(RETRY, [each.tag for each in settlements], _changes(settlements))

    async def dead_letter(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Move messages to the dead letters; return for each, in order, whether its tag had not expired."""
        return await self._settle(DEAD_LETTER, [each.tag for each in settlements], _changes(settlements))

    async def renew_lease(self, ttl: float) -> None:
        """Let the lease of this process expire in *ttl* seconds, and delete those that have expired long ago."""
        await self._run(RENEW_LEASE, {"lease": self._lease, "ttl": ttl})
        await self._run(DELETE_EXPIRED_LEASES, {})

    async def replace_lease(self, ttl: float, deliveries: Sequence[DeliveryKey]) -> None:
        """End the lease and begin another one, to which only *deliveries* belong, for *ttl* seconds."""
        leases = [self._lease, *self._attempted]
        lease = new_lease()
        self._attempted.append(lease)  # if this fails, it may have been begun
        await self._run(REPLACE_LEASES, {"leases": leases, "lease": lease, "ttl": ttl, **_keys(deliveries)})
        self._lease, self._attempted = lease, []

    async def end_lease(self) -> None:
        """Let the lease of this process expire now."""
        await self._run(END_LEASES, {"leases": [self._lease, *self._attempted]})

    async def _settle(self, sql: str, tags: Sequence[DeliveryKey], changes: dict[str, Any]) -> list[bool]:
        settled = {row[0] for row in await self._run(sql, {**_keys(tags), **changes})}
        return [tag.number in settled for tag in tags]

    async def _run(self, sql: str, values: dict[str, Any]) -> Sequence[Row]:
        await self._schema.create()
        return await self._database.fetch_all(sql, values)


def new_lease() -> int:
    """Return the number of a new lease."""
    return int.from_bytes(os.urandom(7))


def encode_headers(envelope: Envelope) -> str:
    """Return the headers of *envelope* as JSON."""
    return orjson.dumps(envelope.headers).decode()


def _columns(messages: Sequence[NewMessage]) -> dict[str, Any]:
    names = ("names", "delays", "ids", "published", "headers", "bodies", "priorities")
    return dict(zip(names, zip(*messages, strict=True), strict=True))


def _keys(deliveries: Sequence[DeliveryKey]) -> dict[str, Any]:
    return {"numbers": [each.number for each in deliveries], "tags": [each.tag for each in deliveries]}


def _changes(settlements: Sequence[Settlement]) -> dict[str, Any]:
    return {"delays": [each.delay for each in settlements], "headers": [each.headers for each in settlements]}


def _received(name: str, row: Row) -> Received:
    number, tag, unsettled, identifier, published, headers, body = row
    envelope = Envelope(name, identifier, body, published, orjson.loads(headers))
    return Received(DeliveryKey(number, tag), unsettled, envelope)
