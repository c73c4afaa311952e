"""Verify the signature, type and claims of one issuer's tokens (RFC 8725, RFC 9068)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scalekit_jwt.claims import read_confirmation, read_scopes, read_string_claim, validate_audience, validate_times
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.jws import UnverifiedToken, verify_signature
from scalekit_jwt.keys.key_set import KeySource

ACCESS = "at+jwt"
REFRESH = "refresh+jwt"


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
        verify_signature(token, self.keys, now)
        return self._validate_claims(token.claims, now)

    def _check_type(self, header: Mapping[str, object]) -> None:
        value = header.get("typ", "")
        if not isinstance(value, str) or value.lower().removeprefix("application/") not in self.token_types:
            raise InvalidToken("type")

    def _validate_claims(self, claims: Mapping[str, Any], now: float) -> VerifiedToken:
        expires = validate_times(claims, now, self.leeway)
        validate_audience(claims, self.audience, self.audience_claim)
        if claims.get("iss") != self.issuer:
            raise InvalidToken("issuer")
        jkt = read_confirmation(claims)
        if self.requires_dpop and not jkt:
            raise InvalidToken("binding")
        version = claims.get("ver", 0)
        return VerifiedToken(
            issuer=self.issuer,
            subject=read_string_claim(claims, "sub"),
            jti=read_string_claim(claims, "jti", required=False),
            session=read_string_claim(claims, "sid", required=False),
            version=version if type(version) is int else 0,
            expires=expires + self.leeway,
            scopes=read_scopes(claims),
            fingerprint=read_string_claim(claims, "fgp", required=False),
            jkt=jkt,
            claims=claims,
        )
