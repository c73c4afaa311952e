"""Session store in the database, shared by all workers and instances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from scalekit import Unavailable
from scalekit.contracts import Database, DatabaseSchema, SubjectIdentifier, TableDefinition
from scalekit_jwt.session_store import Revocation, Rotation, RotationOutcome, SessionRecord, TokenSession, version_at

OVERLAP = 1000
"""Revocations that are read again: numbers are assigned before commit, so rows become visible out of order."""
TIMEOUT = 5.0
"""Seconds that a read or a write may take, including the wait for a connection."""
REMEDY = 'set session_store = "redis" or "memory" in [plugins.jwt]'
BATCH = 1000
"""Expired rows that one statement removes."""
MAX_BATCHES = 50
"""Statements of one removal for each table; the next removal continues."""

_TABLES = (
    TableDefinition(
        ("scalekit_jwt_sessions", "scalekit_jwt_sessions_subject", "scalekit_jwt_sessions_expires"),
        (
            """CREATE TABLE IF NOT EXISTS scalekit_jwt_sessions (
        family TEXT PRIMARY KEY, subject TEXT NOT NULL, version BIGINT NOT NULL, jti TEXT NOT NULL,
        previous TEXT NOT NULL, delivered_at DOUBLE PRECISION NOT NULL, expires DOUBLE PRECISION NOT NULL,
        created DOUBLE PRECISION NOT NULL)""",
            "CREATE INDEX IF NOT EXISTS scalekit_jwt_sessions_subject ON scalekit_jwt_sessions (subject)",
            "CREATE INDEX IF NOT EXISTS scalekit_jwt_sessions_expires ON scalekit_jwt_sessions (expires)",
        ),
    ),
    TableDefinition(
        ("scalekit_jwt_subjects", "scalekit_jwt_subjects_version"),
        (
            "CREATE TABLE IF NOT EXISTS scalekit_jwt_subjects (subject TEXT PRIMARY KEY, version BIGINT NOT NULL)",
            "CREATE INDEX IF NOT EXISTS scalekit_jwt_subjects_version ON scalekit_jwt_subjects (version)",
        ),
    ),
    TableDefinition(
        ("scalekit_jwt_revocations", "scalekit_jwt_revocations_expires"),
        (
            """CREATE TABLE IF NOT EXISTS scalekit_jwt_revocations (
        number {number}, kind TEXT NOT NULL, issuer TEXT NOT NULL, value TEXT NOT NULL,
        version BIGINT NOT NULL, expires DOUBLE PRECISION NOT NULL)""",
            "CREATE INDEX IF NOT EXISTS scalekit_jwt_revocations_expires ON scalekit_jwt_revocations (expires)",
        ),
    ),
    TableDefinition(
        ("scalekit_jwt_proofs", "scalekit_jwt_proofs_expires"),
        (
            """CREATE TABLE IF NOT EXISTS scalekit_jwt_proofs (
        proof TEXT PRIMARY KEY, expires DOUBLE PRECISION NOT NULL)""",
            "CREATE INDEX IF NOT EXISTS scalekit_jwt_proofs_expires ON scalekit_jwt_proofs (expires)",
        ),
    ),
)
_VERSION = "SELECT version FROM scalekit_jwt_subjects WHERE subject = :subject"
_CREATE = """INSERT INTO scalekit_jwt_sessions (family, subject, version, jti, previous, delivered_at, expires, created)
    VALUES (:family, :subject, :version, :jti, '', 0, :expires, :now)"""
_SESSIONS_OF = f"""SELECT family, created, delivered_at AS refreshed, expires FROM scalekit_jwt_sessions
    WHERE subject = :subject AND expires > :now AND version >= COALESCE(({_VERSION}), 0)
    ORDER BY expires DESC LIMIT :limit"""
_ROTATE = f"""UPDATE scalekit_jwt_sessions SET previous = jti, jti = :successor, delivered_at = 0, expires = :expires
    WHERE family = :family AND jti = :jti AND :version >= COALESCE(({_VERSION}), 0) RETURNING family"""
_FIND = f"""SELECT jti, previous, delivered_at, expires FROM scalekit_jwt_sessions
    WHERE family = :family AND :version >= COALESCE(({_VERSION}), 0)"""
_MARK_DELIVERED = """UPDATE scalekit_jwt_sessions SET delivered_at = :now
    WHERE family = :family AND jti = :jti AND delivered_at = 0"""
_END = "DELETE FROM scalekit_jwt_sessions WHERE family = :family"
_NEXT_VERSION = """INSERT INTO scalekit_jwt_subjects (subject, version) VALUES (:subject, :version)
    ON CONFLICT (subject) DO UPDATE SET version = CASE
        WHEN excluded.version > scalekit_jwt_subjects.version THEN excluded.version
        ELSE scalekit_jwt_subjects.version + 1 END RETURNING version"""
_REMOVE = """DELETE FROM scalekit_jwt_{table} WHERE {key} IN (
    SELECT {key} FROM scalekit_jwt_{table} WHERE {column} <= :last ORDER BY {column} LIMIT :limit{skip}) RETURNING 1"""
_SKIP = {"postgresql": " FOR UPDATE SKIP LOCKED", "sqlite": ""}
_REVOKE = """INSERT INTO scalekit_jwt_revocations (kind, issuer, value, version, expires)
    VALUES (:kind, :issuer, :value, :version, :expires)"""
_MARK_PROOF_USED = """INSERT INTO scalekit_jwt_proofs (proof, expires) VALUES (:proof, :expires)
    ON CONFLICT (proof) DO NOTHING RETURNING proof"""
_REVOCATIONS = """SELECT number, kind, issuer, value, version, expires FROM scalekit_jwt_revocations
    WHERE expires > :now AND number > CASE
        WHEN (SELECT COALESCE(MAX(number), 0) FROM scalekit_jwt_revocations) < :last THEN 0 ELSE :after END
    ORDER BY number"""


class DatabaseSessionStore:
    """Stores sessions in the tables ``scalekit_jwt_*`` of *database*, created on the first successful access."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema = DatabaseSchema("jwt", database, *_TABLES, remedy=REMEDY)

    async def version_of(self, subject: SubjectIdentifier) -> int:
        """Return the version with which new sessions of *subject* start."""
        async with self._connected() as database:
            return int(await database.fetch_val(_VERSION, {"subject": subject.text}) or 0)

    async def create(self, session: TokenSession, now: float) -> None:
        """Store a new session that starts at *now*."""
        values = {
            "family": session.family,
            "subject": session.subject.text,
            "version": session.version,
            "jti": session.jti,
            "expires": session.expires,
            "now": now,
        }
        async with self._connected() as database:
            await database.execute(_CREATE, values)

    async def sessions_of(self, subject: SubjectIdentifier, now: float, limit: int) -> Sequence[SessionRecord]:
        """Return at most *limit* sessions of *subject* that have not ended, the last to expire first."""
        values = {"subject": subject.text, "now": now, "limit": limit}
        async with self._connected() as database:
            rows = await database.fetch_all(_SESSIONS_OF, values)
        return [SessionRecord(*(row[column] for column in SessionRecord._fields)) for row in rows]

    async def rotate(
        self, session: TokenSession, successor: str, *, now: float, grace: float, expires: float
    ) -> Rotation:
        """Replace ``session.jti`` by *successor* if it is the newest, atomically in one statement."""
        owner = {"family": session.family, "subject": session.subject.text, "version": session.version}
        new = {"jti": session.jti, "successor": successor, "expires": expires}
        async with self._connected() as database:
            if await database.fetch_one(_ROTATE, {**owner, **new}) is not None:
                return Rotation(RotationOutcome.ROTATED, successor, expires)
            row = await database.fetch_one(_FIND, owner)
        if row is None:
            return Rotation(RotationOutcome.ENDED)
        if row["previous"] == session.jti and (not row["delivered_at"] or now - row["delivered_at"] <= grace):
            return Rotation(RotationOutcome.REPEATED, row["jti"], row["expires"])
        return Rotation(RotationOutcome.REUSED)

    async def mark_delivered(self, family: str, jti: str, now: float) -> None:
        """Record that *jti* is sent to the client at *now*, unless recorded before."""
        async with self._connected() as database:
            await database.execute(_MARK_DELIVERED, {"family": family, "jti": jti, "now": now})

    async def end(self, family: str, now: float, until: float) -> None:
        """End a session and revoke its access tokens, the last of which expires at *until*."""
        async with self._connected() as database, database.transaction():
            await database.execute(_END, {"family": family})
            await database.execute(_REVOKE, _revocation("session", "", family, 0, until))

    async def revoke(self, issuer: str, jti: str, until: float) -> None:
        """Revoke one token until it expires at *until*."""
        async with self._connected() as database:
            await database.execute(_REVOKE, _revocation("token", issuer, jti, 0, until))

    async def revoke_all(self, subject: SubjectIdentifier, now: float, until: float) -> None:
        """Revoke all sessions of *subject*."""
        async with self._connected() as database, database.transaction():
            values = {"subject": subject.text, "version": version_at(now)}
            version = await database.fetch_val(_NEXT_VERSION, values)
            await database.execute(_REVOKE, _revocation("subject", subject.issuer, subject.subject, version, until))

    async def revocations(self, after: int, now: float) -> Sequence[Revocation]:
        """Return the revocations in effect that may be newer than the one with the number *after*."""
        values = {"last": after, "after": max(0, after - OVERLAP), "now": now}
        async with self._connected() as database:
            rows = await database.fetch_all(_REVOCATIONS, values)
        return [Revocation(*(row[column] for column in Revocation._fields)) for row in rows]

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Store *proof*; return whether this is its first use, atomically in one statement."""
        async with self._connected() as database:
            return await database.fetch_val(_MARK_PROOF_USED, {"proof": proof, "expires": until}) is not None

    async def remove_expired(self, now: float, oldest: float) -> None:
        """Remove expired sessions, revocations and proofs, and subject versions from before *oldest*."""
        await self._remove("sessions", "family", "expires", now)
        await self._remove("revocations", "number", "expires", now)
        await self._remove("proofs", "proof", "expires", now)
        await self._remove("subjects", "subject", "version", version_at(oldest))

    async def _remove(self, table: str, key: str, column: str, last: float) -> None:
        """Remove the rows of *table* whose *column* is at most *last*, in batches, so that no statement runs long."""
        skip = _SKIP[self._database.dialect]  # rows that another process removes, or a late refresh extends
        statement = _REMOVE.format(table=table, key=key, column=column, skip=skip)
        for _ in range(MAX_BATCHES):
            async with self._connected() as database:
                removed = await database.fetch_all(statement, {"last": last, "limit": BATCH})
            if len(removed) < BATCH:
                return

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Database, None]:
        """Yield the database with its tables; raises Unavailable after TIMEOUT seconds."""
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._schema.create()
                yield self._database
        except TimeoutError:
            raise Unavailable(f"the database with the sessions timed out after {TIMEOUT} s") from None


def _revocation(kind: str, issuer: str, value: str, version: int, until: float) -> dict[str, str | int | float]:
    return {"kind": kind, "issuer": issuer, "value": value, "version": version, "expires": until}
