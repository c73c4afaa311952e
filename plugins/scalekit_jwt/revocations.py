"""What this process knows of tokens that are not good any more."""

from __future__ import annotations

from collections.abc import Iterable

from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.session_store import Revocation
from scalekit_jwt.token_verifier import VerifiedToken


class Revocations:
    """The revocations that still count, by what they end; *issuer* is this service itself."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._tokens: dict[tuple[str, str], float] = {}
        self._sessions: dict[str, float] = {}
        self._subjects: dict[SubjectIdentifier, tuple[int, float]] = {}
        self.last = 0
        self.known = False
        """Whether it is known at all what has been revoked before this process began."""

    def learn(self, revocations: Iterable[Revocation]) -> bool:
        """Remember *revocations*; tell whether one of them is new."""
        news = False
        self.known = True
        for number, kind, issuer, value, version, expires in revocations:
            self.last = max(self.last, number)
            if kind == "token":
                news |= (issuer, value) not in self._tokens
                self._tokens[issuer, value] = expires
            elif kind == "session":
                news |= value not in self._sessions
                self._sessions[value] = expires
            elif version > self._subjects.get(subject := SubjectIdentifier(issuer, value), (0, 0.0))[0]:
                self._subjects[subject] = (version, expires)
                news = True
        return news

    def ends(self, token: VerifiedToken) -> bool:
        """Tell whether *token* has been revoked."""
        if token.jti and (token.issuer, token.jti) in self._tokens:
            return True
        if token.issuer != self._issuer:
            return False
        if token.session in self._sessions:
            return True
        return token.version < self._subjects.get(SubjectIdentifier(token.issuer, token.subject), (0, 0.0))[0]

    def sweep(self, now: float) -> None:
        """Forget what is over."""
        self._tokens = {key: expires for key, expires in self._tokens.items() if expires > now}
        self._sessions = {key: expires for key, expires in self._sessions.items() if expires > now}
        self._subjects = {key: item for key, item in self._subjects.items() if item[1] > now}
