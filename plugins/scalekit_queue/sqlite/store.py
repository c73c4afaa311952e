"""The messages in a SQLite file, as statements on one connection. All of it runs in one thread.

A message that is taken is due again when its lease is over, unless its owner renews that, so that what a killed process
held is delivered again. Who settles it names the delivery, so that one whose lease was over changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import Any

import orjson

from scalekit_queue.envelope import REASON, Envelope, QueueDepth

DELIVERIES = 20
"""How often a message may be delivered without an outcome, for it may be what ends its consumers."""
BUSY = 5.0
"""Seconds that a transaction waits for those of other processes."""

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
CREATE INDEX IF NOT EXISTS messages_owned ON messages (owner) WHERE owner IS NOT NULL;
"""
INSERT = "INSERT INTO messages (name, dead, due, id, published, headers, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
TAKE = """
UPDATE messages SET owner = ?, due = ?, deliveries = deliveries + 1 WHERE number IN (
  SELECT number FROM messages WHERE name = ? AND dead = 0 AND due <= ? ORDER BY due, number LIMIT ?
) RETURNING number, deliveries, id, published, headers, body
"""
HELD = "WHERE number = ? AND owner = ? AND deliveries = ?"
DONE = f"DELETE FROM messages {HELD}"
RETRY = f"UPDATE messages SET owner = NULL, due = ?, headers = ?, deliveries = 0 {HELD}"
BURY = f"UPDATE messages SET owner = NULL, due = ?, headers = ?, dead = 1 {HELD}"
RELEASE = f"UPDATE messages SET owner = NULL, due = 0, deliveries = deliveries - 1 {HELD}"
RENEW = "UPDATE messages SET due = ? WHERE owner = ?"
COUNT = """
SELECT count(*) FILTER (WHERE dead = 0 AND owner IS NULL AND due <= :now),
  count(*) FILTER (WHERE dead = 0 AND owner IS NULL AND due > :now),
  count(*) FILTER (WHERE dead = 0 AND owner IS NOT NULL), count(*) FILTER (WHERE dead = 1)
FROM messages WHERE name = :name
"""
PEEK = """
SELECT number, id, published, headers, body FROM messages
WHERE name = ? AND dead = ? AND owner IS NULL ORDER BY due, number LIMIT ?
"""
REPLAY = "UPDATE messages SET dead = 0, due = 0, deliveries = 0, headers = ? WHERE number = ?"


class DeliveryTag(tuple[int, str, int]):
    """Which delivery of which message: its number, who holds it, and how often it has been delivered."""

    __slots__ = ()


class MessageStore:
    """The file of messages."""

    def __init__(self, file: str, synchronous: str) -> None:
        self._file = file
        self._synchronous = synchronous
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, which is made when it is not there; raises sqlite3.Error when that fails."""
        Path(self._file).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=BUSY, isolation_level=None, check_same_thread=False)
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
        """The connection; opened anew when an earlier attempt failed."""
        if self._connection is None:
            self.open()
        return self._connection  # type: ignore[return-value]

    def begin(self) -> None:
        """Begin to write; waits for other processes that do."""
        self.raw.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make what was written last."""
        self.raw.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was written since begin."""
        if self.raw.in_transaction:
            self.raw.execute("ROLLBACK")

    def version(self) -> int:
        """Return a number that changes when another process has written."""
        (number,) = self.raw.execute("PRAGMA data_version").fetchone()
        return int(number)

    def insert(self, envelopes: Sequence[Envelope]) -> None:
        """Store *envelopes*."""
        now = time()
        self.raw.executemany(INSERT, [_row(each, now) for each in envelopes])

    def take(self, name: str, owner: str, limit: int, lease: float) -> list[tuple[DeliveryTag, Envelope]]:
        """Let *owner* have up to *limit* messages that are due, the oldest first, until *lease* seconds from now."""
        now = time()
        rows = self.raw.execute(TAKE, (owner, now + lease, name, now, limit)).fetchall()
        taken = []
        for number, deliveries, *content in sorted(rows):
            held = DeliveryTag((number, owner, deliveries))
            envelope = _envelope(name, *content)
            if deliveries > DELIVERIES:
                self.bury(held, envelope.buried({REASON: f"delivered {DELIVERIES} times without an outcome"}))
            else:
                taken.append((held, envelope))
        return taken

    def next_due(self, name: str) -> float | None:
        """Return when the next message *name* is due, in seconds since the epoch; None where there is none."""
        sql = "SELECT min(due) FROM messages WHERE name = ? AND dead = 0"
        found: float | None = self.raw.execute(sql, (name,)).fetchone()[0]
        return found

    def renew(self, owner: str, lease: float) -> None:
        """Let *owner* keep what it holds until *lease* seconds from now."""
        self.raw.execute(RENEW, (time() + lease, owner))

    def done(self, held: DeliveryTag) -> bool:
        """Forget the message; return False when it was held no more."""
        return self.raw.execute(DONE, held).rowcount == 1

    def retry(self, held: DeliveryTag, envelope: Envelope) -> bool:
        """Have the message delivered again, as *envelope*; return False when it was held no more."""
        values = (time() + envelope.delay, orjson.dumps(envelope.headers), *held)
        return self.raw.execute(RETRY, values).rowcount == 1

    def bury(self, held: DeliveryTag, envelope: Envelope) -> bool:
        """Make the message a dead letter, as *envelope*; return False when it was held no more."""
        return self.raw.execute(BURY, (time(), orjson.dumps(envelope.headers), *held)).rowcount == 1

    def release(self, held: DeliveryTag) -> bool:
        """Give the message back; return False when it was held no more."""
        return self.raw.execute(RELEASE, held).rowcount == 1

    def depth(self, name: str) -> QueueDepth:
        """Count the messages *name*."""
        return QueueDepth(name, *self.raw.execute(COUNT, {"name": name, "now": time()}).fetchone())

    def names(self) -> list[str]:
        """Return the names of all messages that are there."""
        return [name for (name,) in self.raw.execute("SELECT DISTINCT name FROM messages ORDER BY name")]

    def peek(self, name: str, dead: bool, limit: int) -> list[Envelope]:
        """Return the first messages *name* that nobody holds."""
        return [_envelope(name, *content) for _, *content in self.raw.execute(PEEK, (name, dead, limit))]

    def replay(self, name: str, ids: Sequence[str], limit: int) -> int:
        """Make dead letters messages again; return how many."""
        found = self.raw.execute(PEEK, (name, True, -1 if ids else limit)).fetchall()
        chosen = [row for row in found if not ids or row[1] in ids]
        for number, *content in chosen:
            self.raw.execute(REPLAY, (orjson.dumps(_envelope(name, *content).replayed().headers), number))
        return len(chosen)

    def purge(self, name: str, dead: bool) -> int:
        """Drop the messages *name* that nobody holds; return how many."""
        sql = "DELETE FROM messages WHERE name = ? AND dead = ? AND owner IS NULL"
        return self.raw.execute(sql, (name, dead)).rowcount


def _row(envelope: Envelope, now: float) -> tuple[Any, ...]:
    due = now + envelope.delay if envelope.delay else 0.0
    headers = orjson.dumps(envelope.headers)
    return envelope.name, envelope.dead, due, envelope.id, envelope.published, headers, envelope.body


def _envelope(name: str, identifier: str, published: float, headers: bytes, body: bytes) -> Envelope:
    return Envelope(name, identifier, bytes(body), published, orjson.loads(headers))
