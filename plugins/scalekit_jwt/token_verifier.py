"""Verify the signature, type and claims of one issuer's tokens (RFC 8725, RFC 9068)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from scalekit_jwt.claims import scopes_of, string_claim, validate_audience, validate_times
from scalekit_jwt.dpop import confirmed_thumbprint
from scalekit_jwt.errors import InvalidToken, UnknownKey
from scalekit_jwt.jws_parser import UnverifiedToken
from scalekit_jwt.keys import KeySet

ACCESS = "at+jwt"
REFRESH = "refresh+jwt"


class KeySource(Protocol):
    """Provides the current keys of an issuer."""

    @property
    def current(self) -> KeySet:
        """The current keys."""
        ...

    @property
    def wait_for_keys(self) -> Callable[[], Awaitable[bool]] | None:
        """Wait for a fetch of the issuer's JWKS; None for local keys."""
        ...

    def reload_for_unknown_key(self) -> bool:
        """Load changed local keys for a token with an unknown ``kid``; return whether keys were loaded."""
        ...


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A token with a valid signature and valid claims; *expires* includes the leeway."""

    issuer: str
    subject: str
    jti: str
    session: str
    version: int
    expires: float
    scopes: list[str]
    fingerprint: str
    jkt: str
    """The thumbprint of the key that the token is bound to, for which it needs a DPoP proof; empty when unbound."""
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TokenVerifier:
    """Verifies tokens of *issuer* for *audience*, found in *audience_claim*, with a ``typ`` of *token_types*.

    *token_types* are lower case. With *requires_dpop* a token must be bound to a key.
    """

    issuer: str
    audience: str
    token_types: frozenset[str]
    keys: KeySource
    leeway: float
    clock: Callable[[], float]
    requires_dpop: bool = False
    audience_claim: str = "aud"

    def verify(self, token: UnverifiedToken) -> VerifiedToken:
        """Return the verified *token*; raises InvalidToken when it is invalid, UnknownKey when its key is unknown."""
        now = self.clock()
        self._check_type(token.header)
        try:
            key = self.keys.current.find(token.header, now)
        except UnknownKey:
            if not self.keys.reload_for_unknown_key():
                raise UnknownKey(self.keys.wait_for_keys) from None
            key = self.keys.current.find(token.header, now)
        if not key.verify(token.signing_input, token.signature):
            raise InvalidToken("signature")
        return self._validate_claims(token.claims, now)

    def _check_type(self, header: Mapping[str, Any]) -> None:
        value = header.get("typ", "")
        if not isinstance(value, str) or value.lower().removeprefix("application/") not in self.token_types:
            raise InvalidToken("type")

    def _validate_claims(self, claims: Mapping[str, Any], now: float) -> VerifiedToken:
        expires = validate_times(claims, now, self.leeway)
        validate_audience(claims, self.audience, self.audience_claim)
        if claims.get("iss") != self.issuer:
            raise InvalidToken("issuer")
        jkt = confirmed_thumbprint(claims)
        if self.requires_dpop and not jkt:
            raise InvalidToken("binding")
        version = claims.get("ver", 0)
        return VerifiedToken(
            issuer=self.issuer,
            subject=string_claim(claims, "sub"),
            jti=string_claim(claims, "jti", required=False),
            session=string_claim(claims, "sid", required=False),
            version=version if type(version) is int else 0,
            expires=expires + self.leeway,
            scopes=scopes_of(claims),
            fingerprint=string_claim(claims, "fgp", required=False),
            jkt=jkt,
            claims=claims,
        )
