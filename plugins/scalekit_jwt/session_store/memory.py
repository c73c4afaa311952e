"""Session store in the memory of one process."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice

from scalekit import Unavailable
from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.session_store import Revocation, Rotation, RotationOutcome, SessionRecord, TokenSession, version_at

MAX_ENTRIES = 100_000
"""Maximum of sessions, subjects, revocations and proofs each; evicting one early would make it unsafe."""


@dataclass(slots=True)
class _Family:
    session: TokenSession
    created: float
    previous: str = ""
    delivered_at: float = 0.0


class MemorySessionStore:
    """Stores sessions until the process ends."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}
        self._versions: dict[SubjectIdentifier, int] = {}
        self._revocations: list[Revocation] = []
        self._proofs: dict[str, float] = {}
        self._number = 0

    async def version_of(self, subject: SubjectIdentifier) -> int:
        """Return the version with which new sessions of *subject* start."""
        return self._versions.get(subject, 0)

    async def create(self, session: TokenSession, now: float) -> None:
        """Store a new session that starts at *now*; raises Unavailable when the store is full."""
        self._refuse_full(self._families)
        self._families[session.family] = _Family(session, now)

    async def sessions_of(self, subject: SubjectIdentifier, now: float, limit: int) -> Sequence[SessionRecord]:
        """Return at most *limit* sessions of *subject* that have not ended, the last to expire first."""
        version = self._versions.get(subject, 0)
        found = [
            SessionRecord(name, family.created, family.delivered_at, family.session.expires)
            for name, family in self._families.items()
            if family.session.subject == subject and family.session.version >= version and family.session.expires > now
        ]
        return sorted(found, key=lambda record: record.expires, reverse=True)[:limit]

    async def rotate(
        self, session: TokenSession, successor: str, *, now: float, grace: float, expires: float
    ) -> Rotation:
        """Replace ``session.jti`` by *successor* if it is the newest token of the session."""
        family = self._families.get(session.family)
        if family is None or session.version < self._versions.get(session.subject, 0):
            return Rotation(RotationOutcome.ENDED)
        if family.session.jti == session.jti:
            family.previous, family.delivered_at = session.jti, 0.0
            family.session = replace(family.session, jti=successor, expires=expires)
            return Rotation(RotationOutcome.ROTATED, successor, expires)
        if family.previous == session.jti and (not family.delivered_at or now - family.delivered_at <= grace):
            return Rotation(RotationOutcome.REPEATED, family.session.jti, family.session.expires)
        return Rotation(RotationOutcome.REUSED)

    async def mark_delivered(self, family: str, jti: str, now: float) -> None:
        """Record that *jti* is sent to the client at *now*, unless recorded before."""
        found = self._families.get(family)
        if found is not None and found.session.jti == jti and not found.delivered_at:
            found.delivered_at = now

    async def end(self, family: str, now: float, until: float) -> None:
        """End a session and revoke its access tokens, the last of which expires at *until*."""
        self._families.pop(family, None)
        self._revoke("session", "", family, 0, until)

    async def revoke(self, issuer: str, jti: str, until: float) -> None:
        """Revoke one token until it expires at *until*."""
        self._revoke("token", issuer, jti, 0, until)

    async def revoke_all(self, subject: SubjectIdentifier, now: float, until: float) -> None:
        """Revoke all sessions of *subject*."""
        if subject not in self._versions:
            self._refuse_full(self._versions)
        self._versions[subject] = version = max(self._versions.get(subject, 0) + 1, version_at(now))
        self._revoke("subject", subject.issuer, subject.subject, version, until)

    async def revocations(self, after: int, now: float) -> Sequence[Revocation]:
        """Return the revocations in effect that are newer than the one with the number *after*."""
        return [each for each in self._revocations if each.number > after and each.expires > now]

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Store *proof*; return whether this is its first use. Raises Unavailable when the store is full."""
        if proof in self._proofs:
            return False
        for expired in [key for key, end in islice(self._proofs.items(), 2) if end <= now]:
            del self._proofs[expired]  # two per new proof, so that expired proofs never fill the store
        self._refuse_full(self._proofs)
        self._proofs[proof] = until
        return True

    async def remove_expired(self, now: float, oldest: float) -> None:
        """Remove expired sessions, revocations and proofs, and subject versions from before *oldest*."""
        last = version_at(oldest)
        self._versions = {subject: version for subject, version in self._versions.items() if version > last}
        self._proofs = {proof: end for proof, end in self._proofs.items() if end > now}
        self._revocations = [each for each in self._revocations if each.expires > now]
        for name in [name for name, family in self._families.items() if family.session.expires <= now]:
            del self._families[name]

    def _revoke(self, kind: str, issuer: str, value: str, version: int, until: float) -> None:
        self._refuse_full(self._revocations)
        self._number += 1
        self._revocations.append(Revocation(self._number, kind, issuer, value, version, until))

    def _refuse_full(self, entries: Sized) -> None:
        if len(entries) >= MAX_ENTRIES:
            raise Unavailable("the session store in memory is full")
