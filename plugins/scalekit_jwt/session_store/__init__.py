"""What is remembered of sessions: one family of refresh tokens each, of which only the newest is good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from scalekit.contracts import SubjectIdentifier


class RotationOutcome(Enum):
    """How it went with a refresh token."""

    ROTATED = "rotated"
    REPEATED = "repeated"
    """The token was rotated before and is within its grace period: the client gets the same successor again."""
    THEFT = "theft"
    GONE = "gone"


class Rotation(NamedTuple):
    """The *jti* of the token that follows, and when it *expires*."""

    outcome: RotationOutcome
    jti: str = ""
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Session:
    """One family: *jti* is its newest refresh token, *version* that of its subject when it began.

    Versions are moments, in milliseconds: when all sessions of the subject were ended last, 0 where they never were or
    that is forgotten. So what follows is always higher, also than what has been forgotten.
    """

    family: str
    subject: SubjectIdentifier
    version: int
    jti: str
    expires: float


class Revocation(NamedTuple):
    """What is not good any more. *kind* is ``token``, ``session`` or ``subject``; *expires* is when nobody need know.

    *version* of a subject is the first that is good again.
    """

    number: int
    kind: str
    issuer: str
    value: str
    version: int
    expires: float


def version_at(now: float) -> int:
    """Return the version of a subject whose sessions are ended *now*."""
    return int(now * 1000)


class SessionStore(Protocol):
    """Remembers sessions and revocations for all who share it. Raises Unavailable when it is gone."""

    async def version_of(self, subject: SubjectIdentifier) -> int:
        """Return the version that new sessions of *subject* begin with."""
        ...

    async def begin(self, session: Session) -> None:
        """Remember a new session."""
        ...

    async def rotate(self, session: Session, successor: str, now: float, grace: float, expires: float) -> Rotation:
        """Put *successor* in the place of ``session.jti``, if that is the newest; all at once, whoever else asks.

        The predecessor returns the same successor until *grace* seconds after ``mark_delivered``.
        """
        ...

    async def mark_delivered(self, family: str, jti: str, now: float) -> None:
        """Note that *jti* is handed out, unless that is noted already."""
        ...

    async def end(self, family: str, now: float, until: float) -> None:
        """End a session, and its access tokens, the last of which ends by itself at *until*."""
        ...

    async def revoke(self, issuer: str, jti: str, until: float) -> None:
        """End one token."""
        ...

    async def revoke_all(self, subject: SubjectIdentifier, now: float, until: float) -> None:
        """End every session of *subject*; those that begin from now on have a higher version."""
        ...

    async def revocations(self, after: int, now: float) -> Sequence[Revocation]:
        """Return the revocations that may have come after the one with the number *after*, and still count."""
        ...

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Remember *proof* until it is of no use any more; tell whether it is used for the first time."""
        ...

    async def sweep(self, now: float, oldest: float) -> None:
        """Forget what is over, and of subjects what was revoked before *oldest*, since when every session has ended."""
        ...
