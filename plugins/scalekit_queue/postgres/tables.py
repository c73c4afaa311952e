"""The tables of the PostgreSQL transport: messages, leases of consuming processes, and dead letters.

Receiving a message writes only columns without an index, so that the new version of the row stays in its page (HOT
update, for which the fill factor leaves space) and no index grows. A process extends one row of leases, not each of its
messages. Vacuum starts by the number of dead rows, since the tables are small when the consumers keep up.
"""

from __future__ import annotations

from scalekit.contracts import TableDefinition

MESSAGES = TableDefinition(
    ("scalekit_queue_messages", "scalekit_queue_messages_due"),
    (
        """
CREATE TABLE IF NOT EXISTS scalekit_queue_messages (
  number {number},
  due TIMESTAMPTZ NOT NULL,
  published DOUBLE PRECISION NOT NULL,
  lease BIGINT,
  tag INTEGER NOT NULL DEFAULT 0,
  unsettled INTEGER NOT NULL DEFAULT 0,
  name TEXT COLLATE "C" NOT NULL,
  id TEXT NOT NULL,
  headers TEXT NOT NULL,
  body BYTEA NOT NULL
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_cost_delay = 0)
""",
        "CREATE INDEX IF NOT EXISTS scalekit_queue_messages_due ON scalekit_queue_messages (name, due, number)",
    ),
)
LEASES = TableDefinition(
    ("scalekit_queue_leases",),
    (
        """
CREATE TABLE IF NOT EXISTS scalekit_queue_leases (
  lease BIGINT PRIMARY KEY,
  expires TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 500)
""",
    ),
)
DEAD_LETTERS = TableDefinition(
    ("scalekit_queue_dead_letters", "scalekit_queue_dead_letters_name"),
    (
        """
CREATE TABLE IF NOT EXISTS scalekit_queue_dead_letters (
  number {number},
  published DOUBLE PRECISION NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  id TEXT NOT NULL,
  headers TEXT NOT NULL,
  body BYTEA NOT NULL
)
""",
        "CREATE INDEX IF NOT EXISTS scalekit_queue_dead_letters_name ON scalekit_queue_dead_letters (name, number)",
    ),
)
TABLES = (MESSAGES, LEASES, DEAD_LETTERS)

IS_HELD = "lease IS NOT NULL AND lease IN (SELECT lease FROM scalekit_queue_leases WHERE expires > now())"
"""Whether a message is in flight in a process whose lease has not expired."""
