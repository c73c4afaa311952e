"""Store in the application's database: the response is committed together with the writes of its request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import time

from scalekit.contracts import Database, DatabaseSchema, OuterTransaction, Row, TableDefinition
from scalekit_idempotency.keyed_request import KeyedRequest
from scalekit_idempotency.recorded_response import RecordedResponse, decode_headers
from scalekit_idempotency.stores.contract import Claim, KeyInUse, Record

REMEDY = 'set store = "redis" or "memory" in [plugins.idempotency]'
TABLE = TableDefinition(
    ("scalekit_idempotency", "scalekit_idempotency_expires"),
    (
        """
CREATE TABLE IF NOT EXISTS scalekit_idempotency (
  id TEXT PRIMARY KEY,
  key TEXT NOT NULL,
  subject TEXT NOT NULL,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  status INTEGER NOT NULL,
  headers TEXT NOT NULL,
  body {bytes} NOT NULL,
  created DOUBLE PRECISION NOT NULL,
  expires DOUBLE PRECISION NOT NULL
)
""",
        "CREATE INDEX IF NOT EXISTS scalekit_idempotency_expires ON scalekit_idempotency (expires)",
    ),
)
# The lock ends with the transaction, so also with the process. It may be granted after another request has committed,
# but on the snapshot from before: then the insert below inserts nothing, and the request is rolled back.
_CLAIM = {
    "postgresql": """
SELECT locked, fingerprint, status, headers, body
FROM (SELECT pg_try_advisory_xact_lock(:lock) AS locked) AS claimed
LEFT JOIN scalekit_idempotency ON id = :id AND expires > :now
""",
    # The transaction of SQLite excludes all others that write.
    "sqlite": """
SELECT :lock IS NOT NULL AS locked, fingerprint, status, headers, body
FROM (SELECT 1) AS claimed LEFT JOIN scalekit_idempotency ON id = :id AND expires > :now
""",
}
_INSERT = """
INSERT INTO scalekit_idempotency
  (id, key, subject, method, path, fingerprint, status, headers, body, created, expires)
VALUES (:id, :key, :subject, :method, :path, :fingerprint, :status, :headers, :body, :now, :expires)
ON CONFLICT (id) DO UPDATE SET
  method = excluded.method, path = excluded.path, fingerprint = excluded.fingerprint, status = excluded.status,
  headers = excluded.headers, body = excluded.body, created = excluded.created, expires = excluded.expires
WHERE scalekit_idempotency.expires <= :now RETURNING id
"""
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM scalekit_idempotency LIMIT :limit) AS counted"
_DELETE_EXPIRED = """
DELETE FROM scalekit_idempotency WHERE id IN (
  SELECT id FROM scalekit_idempotency WHERE expires <= :now ORDER BY expires LIMIT :limit{skip}
) RETURNING id
"""
_DELETE_OLDEST = """
DELETE FROM scalekit_idempotency WHERE id IN (
  SELECT id FROM scalekit_idempotency ORDER BY expires LIMIT :limit{skip}
) RETURNING id
"""
_SKIP = {"postgresql": " FOR UPDATE SKIP LOCKED", "sqlite": ""}

BATCH = 1000
"""Records that one statement deletes."""
MAX_BATCHES = 20
"""Batches of one clean-up, so that others get their turn."""


class DatabaseClaim:
    """A claim within *transaction*, which also has the writes of the request."""

    def __init__(self, transaction: OuterTransaction, request: KeyedRequest, ttl: float) -> None:
        self._transaction = transaction
        self._request = request
        self._ttl = ttl

    @property
    def has_open_work(self) -> bool:
        """Whether a transaction or session of the application is open."""
        return self._transaction.has_open_work

    async def commit(self, response: RecordedResponse) -> None:
        """Store *response*, and commit all; raise KeyInUse when another request with the key was committed before."""
        request, now = self._request, time()
        values = {
            "id": request.id,
            "key": request.key,
            "subject": request.subject,
            "method": request.method,
            "path": request.path.replace("\0", "%00"),  # PostgreSQL stores no such character
            "fingerprint": request.fingerprint,
            "status": response.status,
            "headers": response.encode_headers(),
            "body": response.body,
            "now": now,
            "expires": now + self._ttl,
        }
        await self._transaction.roll_back_open_work()
        if await self._transaction.fetch_one(_INSERT, values) is None:
            raise KeyInUse
        await self._transaction.commit()

    async def rollback(self) -> None:
        """Undo all that the request has written."""
        await self._transaction.rollback()


class DatabaseIdempotencyStore:
    """Stores at most *max_keys* records for *ttl* seconds in *database*."""

    def __init__(self, database: Database, ttl: float, max_keys: int, isolation: str) -> None:
        self._database = database
        self._schema = DatabaseSchema("idempotency", database, TABLE, remedy=REMEDY)
        self._ttl = ttl
        self._max_keys = max_keys
        self._isolation = isolation
        self._running: set[str] = set()

    async def start(self) -> None:
        """Create the table when the database accepts writes."""
        await self._schema.create_at_start()

    @asynccontextmanager
    async def claim(self, request: KeyedRequest) -> AsyncGenerator[Claim | Record, None]:
        """Begin the transaction of *request*, or return its record; raise KeyInUse while the key is in use.

        A key that is in use in this process needs no connection to find out.
        """
        identifier = request.id
        if identifier in self._running:
            raise KeyInUse
        self._running.add(identifier)
        try:
            await self._schema.create()
            async with self._database.outer_transaction(isolation=self._isolation) as transaction:
                row = await self._find(transaction, identifier)
                if row["fingerprint"] is not None:
                    await transaction.rollback()
                    self._running.discard(identifier)
                    yield _record(row)
                elif row["locked"]:
                    yield DatabaseClaim(transaction, request, self._ttl)
                else:
                    raise KeyInUse
        finally:
            self._running.discard(identifier)

    async def clean_up(self) -> int:
        """Delete expired records, and those beyond the limit that expire first; return how many remain."""
        await self._schema.create()
        for _ in range(MAX_BATCHES):
            if await self._delete(_DELETE_EXPIRED, BATCH) < BATCH:
                break
        limit = self._max_keys + BATCH * MAX_BATCHES
        count = int(await self._database.fetch_val(_COUNT, {"limit": limit}))
        while count > self._max_keys:
            deleted = await self._delete(_DELETE_OLDEST, min(BATCH, count - self._max_keys))
            if not deleted:
                break
            count -= deleted
        return count

    async def check(self) -> None:
        """Raise Unavailable while the database is unavailable."""
        await self._schema.create()

    async def _delete(self, statement: str, limit: int) -> int:
        values: dict[str, object] = {"limit": limit}
        if ":now" in statement:
            values["now"] = time()
        return len(await self._database.fetch_all(statement.format(skip=_SKIP[self._database.dialect]), values))

    async def _find(self, transaction: OuterTransaction, identifier: str) -> Row:
        lock = int.from_bytes(bytes.fromhex(identifier[:16]), signed=True)
        values = {"lock": lock, "id": identifier, "now": time()}
        row = await transaction.fetch_one(_CLAIM[self._database.dialect], values)
        if row is None:
            raise LookupError("the statement that claims a key returned no row")
        return row


def _record(row: Row) -> Record:
    response = RecordedResponse(row["status"], decode_headers(row["headers"]), bytes(row["body"]))
    return Record(row["fingerprint"], response)
