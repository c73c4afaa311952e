"""Sessions in the memory of one process."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from itertools import islice

from scalekit.contracts import SubjectIdentifier
from scalekit.resilience import Unavailable
from scalekit_jwt.session_store import Revocation, Rotation, RotationOutcome, Session, version_at

MOST = 100_000
"""Sessions, subjects, revocations and proofs each; one more is refused, since none may be forgotten early."""


@dataclass(slots=True)
class _Family:
    session: Session
    previous: str = ""
    since: float = 0.0


class MemorySessionStore:
    """Remembers until the process ends."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}
        self._versions: dict[SubjectIdentifier, int] = {}
        self._revocations: list[Revocation] = []
        self._proofs: dict[str, float] = {}
        self._number = 0

    async def version_of(self, subject: SubjectIdentifier) -> int:
        """Return the version that new sessions of *subject* begin with."""
        return self._versions.get(subject, 0)

    async def begin(self, session: Session) -> None:
        """Remember a new session; raises Unavailable when there are too many."""
        self._refuse_full(self._families)
        self._families[session.family] = _Family(session)

    async def rotate(self, session: Session, successor: str, now: float, grace: float, expires: float) -> Rotation:
        """Put *successor* in the place of ``session.jti``, if that is the newest."""
        family = self._families.get(session.family)
        if family is None or session.version < self._versions.get(session.subject, 0):
            return Rotation(RotationOutcome.GONE)
        if family.session.jti == session.jti:
            family.previous, family.since = session.jti, 0.0
            family.session = replace(family.session, jti=successor, expires=expires)
            return Rotation(RotationOutcome.ROTATED, successor, expires)
        if family.previous == session.jti and (not family.since or now - family.since <= grace):
            return Rotation(RotationOutcome.REPEATED, family.session.jti, family.session.expires)
        return Rotation(RotationOutcome.THEFT)

    async def mark_delivered(self, family: str, jti: str, now: float) -> None:
        """Note that *jti* is handed out."""
        found = self._families.get(family)
        if found is not None and found.session.jti == jti and not found.since:
            found.since = now

    async def end(self, family: str, now: float, until: float) -> None:
        """End a session."""
        self._families.pop(family, None)
        self._revoke("session", "", family, 0, until)

    async def revoke(self, issuer: str, jti: str, until: float) -> None:
        """End one token."""
        self._revoke("token", issuer, jti, 0, until)

    async def revoke_all(self, subject: SubjectIdentifier, now: float, until: float) -> None:
        """End every session of *subject*."""
        if subject not in self._versions:
            self._refuse_full(self._versions)
        self._versions[subject] = version = max(self._versions.get(subject, 0) + 1, version_at(now))
        self._revoke("subject", subject.issuer, subject.subject, version, until)

    async def revocations(self, after: int, now: float) -> Sequence[Revocation]:
        """Return the revocations after the one with the number *after*."""
        return [each for each in self._revocations if each.number > after and each.expires > now]

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Remember *proof*; tell whether it is used for the first time. Raises Unavailable when there are too many."""
        if proof in self._proofs:
            return False
        for old in [old for old, end in islice(self._proofs.items(), 2) if end <= now]:
            del self._proofs[old]  # two for each that comes: there are never more of them than are of use
        self._refuse_full(self._proofs)
        self._proofs[proof] = until
        return True

    async def sweep(self, now: float, oldest: float) -> None:
        """Forget what is over."""
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

    def _refuse_full(self, kept: Sized) -> None:
        if len(kept) >= MOST:
            raise Unavailable("there is no room for another session")
