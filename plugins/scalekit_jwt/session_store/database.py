"""Sessions in the database, for all workers and instances that share it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from scalekit.contracts import Database, SubjectIdentifier
from scalekit.resilience import Unavailable
from scalekit_jwt.session_store import Revocation, Rotation, RotationOutcome, Session, version_at

OVERLAP = 1000
"""How many revocations are read again: a number is given before its row is to be seen, so rows come out of order."""
DEADLINE = 5.0
"""Seconds that a change or a look may take, with the wait for a connection."""
LOCK = 0x5CA1E_717
"""The advisory lock under which the tables are made: PostgreSQL lets two who make one table at once collide."""

_NUMBER = {"postgresql": "BIGSERIAL PRIMARY KEY", "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT"}
_TABLES = (
    """CREATE TABLE IF NOT EXISTS scalekit_jwt_sessions (
        family TEXT PRIMARY KEY, subject TEXT NOT NULL, version BIGINT NOT NULL, jti TEXT NOT NULL,
        previous TEXT NOT NULL, since DOUBLE PRECISION NOT NULL, expires DOUBLE PRECISION NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS scalekit_jwt_sessions_expires ON scalekit_jwt_sessions (expires)",
    "CREATE TABLE IF NOT EXISTS scalekit_jwt_subjects (subject TEXT PRIMARY KEY, version BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS scalekit_jwt_subjects_version ON scalekit_jwt_subjects (version)",
    """CREATE TABLE IF NOT EXISTS scalekit_jwt_revocations (
        number {number}, kind TEXT NOT NULL, issuer TEXT NOT NULL, value TEXT NOT NULL,
        version BIGINT NOT NULL, expires DOUBLE PRECISION NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS scalekit_jwt_revocations_expires ON scalekit_jwt_revocations (expires)",
    "CREATE TABLE IF NOT EXISTS scalekit_jwt_proofs (proof TEXT PRIMARY KEY, expires DOUBLE PRECISION NOT NULL)",
    "CREATE INDEX IF NOT EXISTS scalekit_jwt_proofs_expires ON scalekit_jwt_proofs (expires)",
)
_VERSION = "SELECT version FROM scalekit_jwt_subjects WHERE subject = :subject"
_BEGIN = """INSERT INTO scalekit_jwt_sessions (family, subject, version, jti, previous, since, expires)
    VALUES (:family, :subject, :version, :jti, '', 0, :expires)"""
_ROTATE = f"""UPDATE scalekit_jwt_sessions SET previous = jti, jti = :successor, since = 0, expires = :expires
    WHERE family = :family AND jti = :jti AND :version >= COALESCE(({_VERSION}), 0) RETURNING family"""
_LOOK = f"""SELECT jti, previous, since, expires FROM scalekit_jwt_sessions
    WHERE family = :family AND :version >= COALESCE(({_VERSION}), 0)"""
_ANSWERED = """UPDATE scalekit_jwt_sessions SET since = :now
    WHERE family = :family AND jti = :jti AND since = 0"""
_END = "DELETE FROM scalekit_jwt_sessions WHERE family = :family"
_NEXT_VERSION = """INSERT INTO scalekit_jwt_subjects (subject, version) VALUES (:subject, :version)
    ON CONFLICT (subject) DO UPDATE SET version = CASE
        WHEN excluded.version > scalekit_jwt_subjects.version THEN excluded.version
        ELSE scalekit_jwt_subjects.version + 1 END RETURNING version"""
_FORGET_VERSIONS = "DELETE FROM scalekit_jwt_subjects WHERE version <= :last"
_REVOKE = """INSERT INTO scalekit_jwt_revocations (kind, issuer, value, version, expires)
    VALUES (:kind, :issuer, :value, :version, :expires)"""
_SPEND = """INSERT INTO scalekit_jwt_proofs (proof, expires) VALUES (:proof, :expires)
    ON CONFLICT (proof) DO NOTHING RETURNING proof"""
_REVOCATIONS = """SELECT number, kind, issuer, value, version, expires FROM scalekit_jwt_revocations
    WHERE expires > :now AND number > CASE
        WHEN (SELECT COALESCE(MAX(number), 0) FROM scalekit_jwt_revocations) < :last THEN 0 ELSE :after END
    ORDER BY number"""


class DatabaseSessionStore:
    """Remembers in *database*, whose tables ``scalekit_jwt_*`` are made as soon as it is there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._made = False

    async def version_of(self, subject: SubjectIdentifier) -> int:
        """Return the version that new sessions of *subject* begin with."""
        async with self._asking() as database:
            return int(await database.fetch_val(_VERSION, {"subject": subject.text}) or 0)

    async def begin(self, session: Session) -> None:
        """Remember a new session."""
        values = {
            "family": session.family,
            "subject": session.subject.text,
            "version": session.version,
            "jti": session.jti,
            "expires": session.expires,
        }
        async with self._asking() as database:
            await database.execute(_BEGIN, values)

    async def rotate(self, session: Session, successor: str, now: float, grace: float, expires: float) -> Rotation:
        """Put *successor* in the place of ``session.jti``, if that is the newest: one statement, so one can."""
        known = {"family": session.family, "subject": session.subject.text, "version": session.version}
        new = {"jti": session.jti, "successor": successor, "expires": expires}
        async with self._asking() as database:
            if await database.fetch_one(_ROTATE, {**known, **new}) is not None:
                return Rotation(RotationOutcome.ROTATED, successor, expires)
            row = await database.fetch_one(_LOOK, known)
        if row is None:
            return Rotation(RotationOutcome.GONE)
        if row["previous"] == session.jti and (not row["since"] or now - row["since"] <= grace):
            return Rotation(RotationOutcome.REPEATED, row["jti"], row["expires"])
        return Rotation(RotationOutcome.THEFT)

    async def mark_delivered(self, family: str, jti: str, now: float) -> None:
        """Note that *jti* is handed out."""
        async with self._asking() as database:
            await database.execute(_ANSWERED, {"family": family, "jti": jti, "now": now})

    async def end(self, family: str, now: float, until: float) -> None:
        """End a session."""
        async with self._asking() as database, database.transaction():
            await database.execute(_END, {"family": family})
            await database.execute(_REVOKE, _revocation("session", "", family, 0, until))

    async def revoke(self, issuer: str, jti: str, until: float) -> None:
        """End one token."""
        async with self._asking() as database:
            await database.execute(_REVOKE, _revocation("token", issuer, jti, 0, until))

    async def revoke_all(self, subject: SubjectIdentifier, now: float, until: float) -> None:
        """End every session of *subject*."""
        async with self._asking() as database, database.transaction():
            values = {"subject": subject.text, "version": version_at(now)}
            version = await database.fetch_val(_NEXT_VERSION, values)
            await database.execute(_REVOKE, _revocation("subject", subject.issuer, subject.subject, version, until))

    async def revocations(self, after: int, now: float) -> Sequence[Revocation]:
        """Return the revocations that may have come after the one with the number *after*, and still count."""
        values = {"last": after, "after": max(0, after - OVERLAP), "now": now}
        async with self._asking() as database:
            rows = await database.fetch_all(_REVOCATIONS, values)
        return [Revocation(*(row[column] for column in Revocation._fields)) for row in rows]

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Remember *proof*; tell whether it is used for the first time: one statement, so one can."""
        async with self._asking() as database:
            return await database.fetch_val(_SPEND, {"proof": proof, "expires": until}) is not None

    async def sweep(self, now: float, oldest: float) -> None:
        """Forget what is over."""
        async with self._asking() as database:
            for table in ("sessions", "revocations", "proofs"):
                await database.execute(f"DELETE FROM scalekit_jwt_{table} WHERE expires <= :now", {"now": now})
            await database.execute(_FORGET_VERSIONS, {"last": version_at(oldest)})

    @asynccontextmanager
    async def _asking(self) -> AsyncGenerator[Database, None]:
        """Give the database with its tables for so long; raises Unavailable when that is not enough."""
        try:
            async with asyncio.timeout(DEADLINE):
                if not self._made:
                    await self._make()
                yield self._database
        except TimeoutError:
            raise Unavailable("the database, which has the sessions, takes too long") from None

    async def _make(self) -> None:
        """Make the tables, of which another worker may make the same now."""
        dialect = self._database.dialect
        async with self._database.transaction():
            if dialect == "postgresql":
                await self._database.fetch_val("SELECT pg_advisory_xact_lock(:lock)", {"lock": LOCK})
            for table in _TABLES:
                await self._database.execute(table.format(number=_NUMBER[dialect]))
        self._made = True


def _revocation(kind: str, issuer: str, value: str, version: int, until: float) -> dict[str, str | int | float]:
    return {"kind": kind, "issuer": issuer, "value": value, "version": version, "expires": until}
