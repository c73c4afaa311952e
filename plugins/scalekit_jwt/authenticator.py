"""Authenticate access tokens, with a cache of verified tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hmac import compare_digest

from starlette.authentication import AuthCredentials

from scalekit import Unavailable
from scalekit_jwt.credentials import DPOP, extract_token
from scalekit_jwt.dpop import ProofVerifier
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.fingerprint import FingerprintCookie, decode_digest
from scalekit_jwt.jws import MAX_BYTES, parse_jws
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.revocations import Revocations
from scalekit_jwt.token_verifier import TokenVerifier, VerifiedToken
from scalekit_jwt.user import TokenUser

MAX_COOKIE_BYTES = 1024
"""Maximum size of the Cookie header that is cached with a token."""


class CachedToken:
    """A verified token with its user, credentials and expiry, and the cookie digest or key that it is bound to.

    ``cookies`` is the last Cookie header that matched a *cookie_bound* token. *dpop_scheme* is whether the token was
    sent as ``DPoP TOKEN``; ``needs_proof`` is whether each request needs a DPoP proof.
    """

    __slots__ = (
        "auth",
        "cookie_bound",
        "cookies",
        "dpop_scheme",
        "expires",
        "fingerprint",
        "jkt",
        "needs_proof",
        "token",
        "user",
    )

    def __init__(self, token: VerifiedToken, cookie_bound: bool, dpop_scheme: bool) -> None:
        self.token = token
        self.cookie_bound = cookie_bound
        self.cookies: bytes | None = None
        self.dpop_scheme = dpop_scheme
        self.needs_proof = dpop_scheme or bool(token.jkt)
        self.user = TokenUser(token)
        self.auth = AuthCredentials(token.scopes)
        self.expires = token.expires
        self.fingerprint = decode_digest(token.fingerprint)
        self.jkt = token.jkt


class Authenticator:
    """Verifies tokens of this service (*own*) and of *others* by their ``iss``, and caches at most *cache_size*.

    The cache key is the whole Authorization header, which takes half the time of hashing it. A dict lookup compares
    two headers only when their keyed hashes are equal, so its duration reveals nothing about cached tokens. Tokens
    bound to a key need a proof per request, which *proofs* verifies.
    """

    def __init__(
        self,
        own: TokenVerifier,
        others: Mapping[str, TokenVerifier],
        *,
        fingerprint: FingerprintCookie | None,
        revocations: Revocations,
        cache_size: int,
        metrics: JwtMetrics,
        clock: Callable[[], float],
        proofs: ProofVerifier,
    ) -> None:
        self._own = own
        self._verifiers = {**others, own.issuer: own}
        self.fingerprint = fingerprint
        self._revocations = revocations
        self._cache_size = cache_size
        self._metrics = metrics
        self._clock = clock
        self.proofs = proofs
        self._cache: dict[bytes, CachedToken] = {}

    def lookup(self, authorization: bytes, cookies: bytes) -> CachedToken | None:
        """Return the cached token, None on a cache miss; raises InvalidToken when it has expired."""
        cached = self._cache.get(authorization)
        if cached is None:
            return None
        if cached.expires <= self._clock():
            del self._cache[authorization]
            raise InvalidToken("expired")
        if cached.cookie_bound and not (cached.cookies is not None and compare_digest(cookies, cached.cookies)):
            self._check_fingerprint(cached, cookies)
        self._metrics.cached.value += 1
        return cached

    def verify(self, authorization: bytes, cookies: bytes) -> CachedToken:
        """Verify the token and cache it; raises InvalidToken when it is invalid or its cookie is missing.

        *authorization* must be normalized, so that one token takes one cache entry. Raises Unavailable until the
        revocations have been loaded.
        """
        verified = self._verify(extract_token(authorization), dpop_scheme=authorization.startswith(DPOP))
        if verified.cookie_bound:
            self._check_fingerprint(verified, cookies)
        self._store(authorization, verified)
        return verified

    def evict_revoked(self) -> None:
        """Evict tokens that have been revoked."""
        is_revoked = self._revocations.is_revoked
        self._cache = {key: cached for key, cached in self._cache.items() if not is_revoked(cached.token)}

    def clear_cache(self) -> None:
        """Evict all tokens, after the keys have changed."""
        self._cache.clear()

    @property
    def cached_tokens(self) -> int:
        """The number of cached tokens."""
        return len(self._cache)

    def _verify(self, token: bytes, dpop_scheme: bool) -> CachedToken:
        if len(token) > MAX_BYTES:
            raise InvalidToken("too_long")
        unverified = parse_jws(token)
        issuer = unverified.claims.get("iss")
        verifier = self._verifiers.get(issuer) if isinstance(issuer, str) else None
        if verifier is None:
            raise InvalidToken("issuer")
        verified = verifier.verify(unverified)
        if not self._revocations.loaded:
            raise Unavailable("revocations have not been loaded")
        if self._revocations.is_revoked(verified):
            raise InvalidToken("revoked")
        return CachedToken(verified, self.fingerprint is not None and verifier is self._own, dpop_scheme)

    def _check_fingerprint(self, cached: CachedToken, cookies: bytes) -> None:
        if self.fingerprint is not None and not self.fingerprint.find_match(cookies, cached.fingerprint):
            raise InvalidToken("fingerprint")
        cached.cookies = cookies if len(cookies) <= MAX_COOKIE_BYTES else None

    def _store(self, authorization: bytes, verified: CachedToken) -> None:
        self._metrics.verified.inc()
        if len(self._cache) >= self._cache_size:
            self._cache.pop(next(iter(self._cache)))
        self._cache[authorization] = verified
