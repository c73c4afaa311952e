"""Encode the access and refresh token of a session, with the cookie or key that both are bound to."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from scalekit_jwt.jws import encode_jws
from scalekit_jwt.session_store import TokenSession
from scalekit_jwt.token_verifier import ACCESS, REFRESH, TokenVerifier


@dataclass(frozen=True, slots=True)
class TokenLifetimes:
    """The lifetimes of tokens, the grace period of a rotated refresh token and the clock leeway, in seconds."""

    access_ttl: float
    refresh_ttl: float
    rotation_grace: float
    leeway: float

    def last_access_expiry(self, now: float) -> float:
        """Return when every access token issued until *now* has expired in all processes."""
        return now + self.access_ttl + 2 * self.leeway

    @property
    def max_session_age(self) -> float:
        """The time after which a session that is not refreshed has expired in all processes."""
        return self.refresh_ttl + 2 * self.leeway


class TokenBinding(NamedTuple):
    """The cookie digest and the key thumbprint that tokens are bound to, each empty when unbound."""

    fingerprint: str = ""
    jkt: str = ""

    def claims(self) -> dict[str, Any]:
        """Return the claims ``fgp`` and ``cnf``."""
        cookie = {"fgp": self.fingerprint} if self.fingerprint else {}
        return {**cookie, "cnf": {"jkt": self.jkt}} if self.jkt else cookie


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access and a refresh token; *cookie* is the Set-Cookie header of the fingerprint, empty without one."""

    access: str
    refresh: str
    expires_in: int
    token_type: str
    cookie: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response that carries the tokens."""
        headers = {"cache-control": "no-store"}
        return {**headers, "set-cookie": self.cookie} if self.cookie else headers


@dataclass(frozen=True, slots=True)
class TokenPairEncoder:
    """Encodes the tokens of *issuer* with its first key."""

    issuer: TokenVerifier
    lifetimes: TokenLifetimes
    clock: Callable[[], float]

    def encode(
        self, session: TokenSession, *, scope: str, claims: Mapping[str, Any], binding: TokenBinding, cookie: str
    ) -> TokenPair:
        """Return the token pair of *session*; the refresh token carries *claims* as ``ext`` for its successors."""
        now = self.clock()
        common: dict[str, Any] = {
            "iss": self.issuer.issuer,
            "sub": session.subject.subject,
            "aud": self.issuer.audience,
            "sid": session.family,
            "ver": session.version,
            **binding.claims(),
        }
        if scope:
            common["scope"] = scope
        key = self.issuer.keys.current.keys[0]
        ttl = self.lifetimes.access_ttl
        access = {**claims, **common, "jti": random_id(), "iat": int(now), "exp": int(now + ttl)}
        issued_at = min(now, session.expires - self.lifetimes.refresh_ttl)
        refresh = {**common, "jti": session.jti, "iat": int(issued_at), "exp": int(session.expires)}
        if claims:
            refresh["ext"] = claims
        token_type = "DPoP" if binding.jkt else "Bearer"
        return TokenPair(
            encode_jws(key, ACCESS, access), encode_jws(key, REFRESH, refresh), int(ttl), token_type, cookie
        )


def random_id() -> str:
    """Return a random identifier of 128 bits."""
    return secrets.token_urlsafe(16)
