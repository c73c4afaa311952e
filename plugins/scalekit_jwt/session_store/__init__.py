"""Store of sessions, revocations and used DPoP proofs.

A session is a family of refresh tokens of which only the newest is valid (RFC 9700 section 4.14.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from scalekit.contracts import SubjectIdentifier


class RotationOutcome(Enum):
    """The outcome of a refresh token request."""

    ROTATED = "rotated"
    REPEATED = "repeated"
    """The token was already rotated and is within its grace period: the client gets the same successor again."""
    REUSED = "reused"
    """The token was already rotated and its grace period is over: it was probably stolen."""
    ENDED = "ended"
    """The session has been revoked or has expired."""


class Rotation(NamedTuple):
    """The outcome, and the successor's *jti* and when it *expires*."""

    outcome: RotationOutcome
    jti: str = ""
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenSession:
    """A family of refresh tokens: *jti* is the newest, *version* that of its subject when the session started.

    A subject's version is the time in milliseconds at which all its sessions were revoked last, 0 when they never were
    or when that has expired. A later version is therefore always higher, also after an expiry.
    """

    family: str
    subject: SubjectIdentifier
    version: int
    jti: str
    expires: float


class SessionRecord(NamedTuple):
    """A session as operators see it: when it was *created*, last *refreshed* (0 for never) and *expires*."""

    family: str
    created: float
    refreshed: float
    expires: float


class Revocation(NamedTuple):
    """A revoked *kind*: ``token``, ``session`` or ``subject``; *expires* is when the last token concerned expires.

    For a subject, *version* is the lowest that is still valid.
    """

    number: int
    kind: str
    issuer: str
    value: str
    version: int
    expires: float


def version_at(now: float) -> int:
    """Return the version of a subject whose sessions are revoked at *now*."""
    return int(now * 1000)


class SessionStore(Protocol):
    """Stores sessions for all processes that share it. Raises Unavailable when the store is unavailable."""

    async def version_of(self, subject: SubjectIdentifier) -> int:
        """Return the version with which new sessions of *subject* start."""
        ...

    async def create(self, session: TokenSession, now: float) -> None:
        """Store a new session that starts at *now*."""
        ...

    async def sessions_of(self, subject: SubjectIdentifier, now: float, limit: int) -> Sequence[SessionRecord]:
        """Return at most *limit* sessions of *subject* that have not ended, the last to expire first."""
        ...

    async def rotate(
        self, session: TokenSession, successor: str, *, now: float, grace: float, expires: float
    ) -> Rotation:
        """Atomically replace ``session.jti`` by *successor* if it is the newest token of the session.

        The replaced token returns the same successor until *grace* seconds after ``mark_delivered``, and for as long
        as that has not been recorded: a client that got a 503 is not reported as an attacker.
        """
        ...

    async def mark_delivered(self, family: str, jti: str, now: float) -> None:
        """Record that *jti* is sent to the client at *now*, unless recorded before."""
        ...

    async def end(self, family: str, now: float, until: float) -> None:
        """End a session and revoke its access tokens, the last of which expires at *until*."""
        ...

    async def revoke(self, issuer: str, jti: str, until: float) -> None:
        """Revoke one token until it expires at *until*."""
        ...

    async def revoke_all(self, subject: SubjectIdentifier, now: float, until: float) -> None:
        """Revoke all sessions of *subject*; sessions started later have a higher version."""
        ...

    async def revocations(self, after: int, now: float) -> Sequence[Revocation]:
        """Return the revocations in effect that may be newer than the one with the number *after*."""
        ...

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Store *proof* until it expires at *until*; return whether this is its first use."""
        ...

    async def remove_expired(self, now: float, oldest: float) -> None:
        """Remove expired sessions, revocations and proofs, and subject versions from before *oldest*.

        *oldest* is the time since when every session has expired.
        """
        ...
