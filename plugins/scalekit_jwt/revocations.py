"""The revoked tokens, sessions and subjects that this process knows."""

from __future__ import annotations

from collections.abc import Iterable

from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.session_store import Revocation
from scalekit_jwt.token_verifier import VerifiedToken


class Revocations:
    """Revocations in effect, indexed by token, session and subject; *issuer* is the name of this service."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._tokens: dict[tuple[str, str], float] = {}
        self._sessions: dict[str, float] = {}
        self._subjects: dict[SubjectIdentifier, tuple[int, float]] = {}
        self.last_number = 0
        self.loaded = False
        """Whether revocations from before the start of this process have been loaded."""

    def add(self, revocations: Iterable[Revocation]) -> bool:
        """Add *revocations*; return whether one of them is new."""
        changed = False
        self.loaded = True
        for number, kind, issuer, value, version, expires in revocations:
            self.last_number = max(self.last_number, number)
            if kind == "token":
                changed |= (issuer, value) not in self._tokens
                self._tokens[issuer, value] = expires
            elif kind == "session":
                changed |= value not in self._sessions
                self._sessions[value] = expires
            elif version > self._subjects.get(subject := SubjectIdentifier(issuer, value), (0, 0.0))[0]:
                self._subjects[subject] = (version, expires)
                changed = True
        return changed

    def is_revoked(self, token: VerifiedToken) -> bool:
        """Return whether *token*, its session or its subject's session version has been revoked."""
        if token.jti and (token.issuer, token.jti) in self._tokens:
            return True
        if token.issuer != self._issuer:
            return False
        if token.session in self._sessions:
            return True
        return token.version < self._subjects.get(SubjectIdentifier(token.issuer, token.subject), (0, 0.0))[0]

    def remove_expired(self, now: float) -> None:
        """Remove revocations whose tokens have all expired."""
        self._tokens = {key: expires for key, expires in self._tokens.items() if expires > now}
        self._sessions = {key: expires for key, expires in self._sessions.items() if expires > now}
        self._subjects = {key: item for key, item in self._subjects.items() if item[1] > now}
