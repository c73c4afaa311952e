"""One issuer whose tokens are taken: how its tokens must look, and its keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from scalekit_jwt.claims import scopes_of, text, validate_audience, validate_times
from scalekit_jwt.dpop import confirmed_thumbprint
from scalekit_jwt.errors import InvalidToken, UnknownKey
from scalekit_jwt.jws import UnverifiedToken
from scalekit_jwt.keys import KeySet

ACCESS = "at+jwt"
REFRESH = "refresh+jwt"


class KeySource(Protocol):
    """Where the keys of an issuer are, now."""

    @property
    def current(self) -> KeySet:
        """The keys that are known."""
        ...

    @property
    def wait_for_keys(self) -> Callable[[], Awaitable[bool]] | None:
        """What waits for other keys, where they come from afar."""
        ...

    def missed(self) -> bool:
        """Hear that a key is not known; tell whether others are known now."""
        ...


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token whose signature and claims are good."""

    issuer: str
    subject: str
    jti: str
    session: str
    version: int
    expires: float
    scopes: list[str]
    fingerprint: str
    key: str
    """The thumbprint of the key that it is bound to, of which it needs a proof; empty where it is bound to none."""
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Issuer:
    """Takes tokens of one issuer that are for *audience*, by *audience_claim*, and of one of *types*, in lower case.

    Where *bound* they must be bound to a key.
    """

    name: str
    audience: str
    types: frozenset[str]
    keys: KeySource
    leeway: float
    clock: Callable[[], float]
    bound: bool = False
    audience_claim: str = "aud"

    def verify(self, token: UnverifiedToken) -> VerifiedToken:
        """Return what *token* says; raises InvalidToken when it is not good."""
        now = self.clock()
        self._check_type(token.header)
        try:
            key = self.keys.current.find(token.header, now)
        except UnknownKey:
            if not self.keys.missed():
                raise UnknownKey(self.keys.wait_for_keys) from None
            key = self.keys.current.find(token.header, now)
        if not key.verifies(token.signed, token.signature):
            raise InvalidToken("signature")
        return self._accepted(token.claims, now)

    def _check_type(self, header: Mapping[str, Any]) -> None:
        given = header.get("typ", "")
        if not isinstance(given, str) or given.lower().removeprefix("application/") not in self.types:
            raise InvalidToken("type")

    def _accepted(self, claims: Mapping[str, Any], now: float) -> VerifiedToken:
        expires = validate_times(claims, now, self.leeway)
        validate_audience(claims, self.audience, self.audience_claim)
        if claims.get("iss") != self.name:
            raise InvalidToken("issuer")
        key = confirmed_thumbprint(claims)
        if self.bound and not key:
            raise InvalidToken("binding")
        version = claims.get("ver", 0)
        return VerifiedToken(
            self.name,
            text(claims, "sub"),
            text(claims, "jti", required=False),
            text(claims, "sid", required=False),
            version if type(version) is int else 0,
            expires + self.leeway,
            scopes_of(claims),
            text(claims, "fgp", required=False),
            key,
            claims,
        )
