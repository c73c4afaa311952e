"""Turn a token into who it stands for, and remember those that were good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hmac import compare_digest

from starlette.authentication import AuthCredentials

from scalekit.resilience import Unavailable
from scalekit_jwt.credentials import DPOP, token_in
from scalekit_jwt.dpop import ProofVerifier
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.fingerprint import FingerprintCookie, decode_digest
from scalekit_jwt.jws import MAX_BYTES, read
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.revocations import Revocations
from scalekit_jwt.token_verifier import Issuer, VerifiedToken
from scalekit_jwt.user import TokenUser

MAX_COOKIE_BYTES = 1024
"""Bytes of cookies that are remembered with a token."""


class CachedToken:
    """A token that was good: who it stands for, until when, and what it may be bound to: a cookie's digest, a key.

    ``cookies`` are those of the last request that had the right one, where it is *bound* to a cookie. With *proved* it
    came as one that is bound to a key, and ``needs_proof`` tells whether a proof of that key has to be checked.
    """

    __slots__ = ("auth", "bound", "cookies", "expires", "fingerprint", "key", "needs_proof", "proved", "token", "user")

    def __init__(self, token: VerifiedToken, bound: bool, proved: bool) -> None:
        self.token = token
        self.bound = bound
        self.cookies: bytes | None = None
        self.proved = proved
        self.needs_proof = proved or bool(token.key)
        self.user = TokenUser(token)
        self.auth = AuthCredentials(token.scopes)
        self.expires = token.expires
        self.fingerprint = decode_digest(token.fingerprint)
        self.key = token.key


class Authenticator:
    """Verifies tokens of *own* and of the *others*, by their ``iss``; remembers at most *most* of them.

    They are remembered as the Authorization has them, which is half the time of a digest. A look-up compares two texts
    only when their keyed hashes are alike, so its time tells nothing of a token that somebody guesses at. Those that
    are bound to a key need a proof each time: *proofs* checks it.
    """

    def __init__(
        self,
        own: Issuer,
        others: Mapping[str, Issuer],
        fingerprint: FingerprintCookie | None,
        revoked: Revocations,
        most: int,
        metrics: JwtMetrics,
        clock: Callable[[], float],
        proofs: ProofVerifier,
    ) -> None:
        self._own = own
        self._issuers = {**others, own.name: own}
        self.fingerprint = fingerprint
        self._revoked = revoked
        self._most = most
        self._metrics = metrics
        self._clock = clock
        self.proofs = proofs
        self._known: dict[bytes, CachedToken] = {}

    def lookup(self, authorization: bytes, cookies: bytes) -> CachedToken | None:
        """Return the cached token, or None when it is not cached; raises InvalidToken when it has expired."""
        known = self._known.get(authorization)
        if known is None:
            return None
        if known.expires <= self._clock():
            del self._known[authorization]
            raise InvalidToken("expired")
        if known.bound and not (known.cookies is not None and compare_digest(cookies, known.cookies)):
            self._check_fingerprint(known, cookies)
        self._metrics.known.value += 1
        return known

    def verify(self, authorization: bytes, cookies: bytes) -> CachedToken:
        """Verify the token and cache it; raises InvalidToken when it is invalid or its cookie is missing.

        *authorization* is a normalized one: other spellings would take more room. Raises Unavailable while it is not
        known yet what has been revoked.
        """
        known = self._verify(token_in(authorization), proved=authorization.startswith(DPOP))
        if known.bound:
            self._check_fingerprint(known, cookies)
        self._remember(authorization, known)
        return known

    def evict_revoked(self) -> None:
        """Forget those that have been revoked meanwhile."""
        ends = self._revoked.ends
        self._known = {shown: known for shown, known in self._known.items() if not ends(known.token)}

    def clear_cache(self) -> None:
        """Forget all, for the keys have changed, and with them what is good."""
        self._known.clear()

    @property
    def remembered(self) -> int:
        """How many are remembered."""
        return len(self._known)

    def _verify(self, token: bytes, proved: bool) -> CachedToken:
        if len(token) > MAX_BYTES:
            raise InvalidToken("too_long")
        compact = read(token)
        name = compact.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise InvalidToken("issuer")
        verified = issuer.verify(compact)
        if not self._revoked.known:
            raise Unavailable("what has been revoked is not known yet")
        if self._revoked.ends(verified):
            raise InvalidToken("revoked")
        return CachedToken(verified, self.fingerprint is not None and issuer is self._own, proved)

    def _check_fingerprint(self, known: CachedToken, cookies: bytes) -> None:
        if self.fingerprint is not None and not self.fingerprint.find(cookies, known.fingerprint):
            raise InvalidToken("fingerprint")
        known.cookies = cookies if len(cookies) <= MAX_COOKIE_BYTES else None

    def _remember(self, authorization: bytes, known: CachedToken) -> None:
        self._metrics.new.inc()
        if len(self._known) >= self._most:
            self._known.pop(next(iter(self._known)))
        self._known[authorization] = known
