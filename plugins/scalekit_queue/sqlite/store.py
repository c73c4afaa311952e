"""The message store: the SQL statements on one connection to the SQLite file. All of it runs in one thread.

A received message becomes visible again after the visibility timeout unless its owner extends that, so messages of a
killed process are delivered again. A delivery tag identifies the delivery, so that settling one whose visibility
timeout has expired has no effect.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import Any

import orjson

from scalekit_queue.envelope import Envelope
from scalekit_queue.transport import QueueDepth

MAX_BLOB = 2**31 - 1
"""Bytes that a value of SQLite can have."""
BUSY_TIMEOUT = 5.0
"""Seconds that a transaction waits for the transactions of other processes."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  dead INTEGER NOT NULL,
  due REAL NOT NULL,
  owner TEXT,
  deliveries INTEGER NOT NULL DEFAULT 0,
  id TEXT NOT NULL,
  published REAL NOT NULL,
  headers BLOB NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_due ON messages (name, dead, due, number);
"""
INSERT = "INSERT INTO messages (name, dead, due, id, published, headers, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
RECEIVE = """
UPDATE messages SET owner = ?, due = ?, deliveries = deliveries + 1 WHERE number IN (
  SELECT number FROM messages WHERE name = ? AND dead = 0 AND due <= ? ORDER BY due, number LIMIT ?
) RETURNING number, deliveries, id, published, headers, body
"""
WHERE_TAG = "WHERE number = ? AND owner = ? AND deliveries = ?"
ACK = f"DELETE FROM messages {WHERE_TAG}"
RETRY = f"UPDATE messages SET owner = NULL, due = ?, headers = ?, deliveries = 0 {WHERE_TAG}"
DEAD_LETTER = f"UPDATE messages SET owner = NULL, due = ?, headers = ?, dead = 1 {WHERE_TAG}"
REQUEUE = f"UPDATE messages SET owner = NULL, due = 0, deliveries = deliveries - 1 {WHERE_TAG}"
EXTEND_VISIBILITY = f"UPDATE messages SET due = ? {WHERE_TAG}"
# A message whose visibility timeout has expired is ready: its owner was killed.
COUNT = """
SELECT count(*) FILTER (WHERE dead = 0 AND due <= :now),
  count(*) FILTER (WHERE dead = 0 AND owner IS NULL AND due > :now),
  count(*) FILTER (WHERE dead = 0 AND owner IS NOT NULL AND due > :now), count(*) FILTER (WHERE dead = 1),
  min(published) FILTER (WHERE dead = 0 AND due <= :now)
FROM messages WHERE name = :name
"""
PEEK = """
SELECT number, id, published, headers, substr(body, 1, :max_body) FROM messages
WHERE name = :name AND dead = :dead AND (owner IS NULL OR due <= :now) ORDER BY due, number LIMIT :limit
"""
FIND_DEAD_LETTER = """
SELECT id, published, headers, body FROM messages WHERE name = ? AND dead = 1 AND id = ? ORDER BY due, number LIMIT 1
"""
PURGE = "DELETE FROM messages WHERE name = ? AND dead = ? AND (owner IS NULL OR due <= ?)"
REPLAY = "UPDATE messages SET dead = 0, due = 0, deliveries = 0, headers = ? WHERE number = ?"


class DeliveryTag(tuple[int, str, int]):
    """Identifies a delivery: the message's number, the owner, and the number of deliveries so far."""

    __slots__ = ()


class MessageStore:
    """The messages in the SQLite *file*."""

    def __init__(self, file: str, synchronous: str) -> None:
        self._file = file
        self._synchronous = synchronous
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, creating it when missing; raise sqlite3.Error when that fails."""
        Path(self._file).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.executescript(SCHEMA)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection, opened again when an earlier attempt failed."""
        if self._connection is None:
            self.open()
        return self._connection  # type: ignore[return-value]  # open() sets it

    def begin(self) -> None:
        """Begin a write transaction; wait for those of other processes."""
        self.raw.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit the transaction."""
        self.raw.execute("COMMIT")

    def rollback(self) -> None:
        """Roll back the transaction, if there is one."""
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")

    def insert(self, envelopes: Sequence[Envelope]) -> None:
        """Insert *envelopes*."""
        now = time()
        self.raw.executemany(INSERT, [_row(each, now) for each in envelopes])

    def receive(
        self, name: str, owner: str, limit: int, visibility_timeout: float
    ) -> list[tuple[DeliveryTag, Envelope]]:
        """Return up to *limit* due messages, the oldest first, invisible to others for *visibility_timeout* seconds."""
        now = time()
        rows = self.raw.execute(RECEIVE, (owner, now + visibility_timeout, name, now, limit)).fetchall()
        received = []
        for number, deliveries, *content in sorted(rows):
            received.append((DeliveryTag((number, owner, deliveries)), _envelope(name, *content)))
        received.sort(key=lambda each: -each[1].priority)  # a stable sort: the oldest first within a priority
        return received

    def next_due(self, name: str) -> float | None:
        """Return when the next message named *name* is due, in seconds since the epoch, or None without messages."""
        sql = "SELECT min(due) FROM messages WHERE name = ? AND dead = 0"
        due: float | None = self.raw.execute(sql, (name,)).fetchone()[0]
        return due

    def extend_visibility(self, tags: Sequence[DeliveryTag], visibility_timeout: float) -> None:
        """Keep the messages of *tags* that have not expired invisible for *visibility_timeout* seconds from now."""
        due = time() + visibility_timeout
        self.raw.executemany(EXTEND_VISIBILITY, [(due, *tag) for tag in tags])

    def ack(self, tag: DeliveryTag) -> bool:
        """Delete the message; return False when *tag* has expired."""
        return self.raw.execute(ACK, tag).rowcount == 1

    def retry(self, tag: DeliveryTag, envelope: Envelope) -> bool:
        """Make the message due after the delay of *envelope*; return False when *tag* has expired."""
        values = (time() + envelope.delay, orjson.dumps(envelope.headers), *tag)
        return self.raw.execute(RETRY, values).rowcount == 1

    def dead_letter(self, tag: DeliveryTag, envelope: Envelope) -> bool:
        """Make the message a dead letter; return False when *tag* has expired."""
        return self.raw.execute(DEAD_LETTER, (time(), orjson.dumps(envelope.headers), *tag)).rowcount == 1

    def requeue(self, tag: DeliveryTag) -> bool:
        """Make the message due now; return False when *tag* has expired."""
        return self.raw.execute(REQUEUE, tag).rowcount == 1

    def depth(self, name: str) -> QueueDepth:
        """Count the messages named *name*."""
        return QueueDepth(name, *self.raw.execute(COUNT, {"name": name, "now": time()}).fetchone())

    def names(self) -> list[str]:
        """Return the names of all messages in the file."""
        return [name for (name,) in self.raw.execute("SELECT DISTINCT name FROM messages ORDER BY name")]

    def peek(self, name: str, dead: bool, limit: int, max_body: int = MAX_BLOB) -> list[Envelope]:
        """Return the first messages named *name* that are not in flight, with the first *max_body* bytes of bodies."""
        values = {"name": name, "dead": dead, "limit": limit, "max_body": max_body, "now": time()}
        return [_envelope(name, *content) for _, *content in self.raw.execute(PEEK, values)]

    def find_dead_letter(self, name: str, identifier: str) -> Envelope | None:
        """Return the oldest dead letter named *name* with the id *identifier*."""
        row = self.raw.execute(FIND_DEAD_LETTER, (name, identifier)).fetchone()
        return None if row is None else _envelope(name, *row)

    def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Make dead letters due now at attempt 1; return their number."""
        values = {"name": name, "dead": True, "limit": -1 if ids else limit, "max_body": 0, "now": time()}
        letters = self.raw.execute(PEEK, values)
        selected = [row for row in letters if not ids or row[1] in ids]
        for number, *content in selected:
            self.raw.execute(REPLAY, (orjson.dumps(_envelope(name, *content).as_replay().headers), number))
        return len(selected)

    def purge(self, name: str, dead: bool, ids: Sequence[str] = ()) -> int:
        """Delete the messages named *name* that are not in flight, or those with *ids*; return their number."""
        values = (name, dead, time())
        if not ids:
            return self.raw.execute(PURGE, values).rowcount
        return sum(self.raw.execute(f"{PURGE} AND id = ?", (*values, each)).rowcount for each in ids)

    def interrupt(self) -> None:
        """End a statement that another thread executes, which raises sqlite3.OperationalError there."""
        if self._connection is not None:
            self._connection.interrupt()


def _row(envelope: Envelope, now: float) -> tuple[Any, ...]:
    # What is due at once is ordered by priority, and before what was delayed.
    due = now + envelope.delay if envelope.delay else 0.0 - envelope.priority
    headers = orjson.dumps(envelope.headers)
    return envelope.name, envelope.dead, due, envelope.id, envelope.published, headers, envelope.body


def _envelope(name: str, identifier: str, published: float, headers: bytes, body: bytes) -> Envelope:
    return Envelope(name, identifier, bytes(body), published, orjson.loads(headers))
