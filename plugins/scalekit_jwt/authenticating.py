"""Turn a token into who it stands for, and remember those that were good."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.authentication import AuthCredentials

from scalekit.resilience import Unavailable
from scalekit_jwt.compact import MOST_BYTES, read
from scalekit_jwt.errors import Refused
from scalekit_jwt.fingerprint import Fingerprint, raw_digest
from scalekit_jwt.identity import TokenUser
from scalekit_jwt.issuer import Issuer, Verified
from scalekit_jwt.metrics import Metrics
from scalekit_jwt.proof import Proofs
from scalekit_jwt.revoked import Revoked


class Known:
    """A token that was good: who it stands for, until when, and what it may be bound to: a cookie's digest, a key."""

    __slots__ = ("auth", "bound", "expires", "fingerprint", "key", "token", "user")

    def __init__(self, token: Verified, bound: bool) -> None:
        self.token = token
        self.bound = bound
        self.user = TokenUser(token)
        self.auth = AuthCredentials(token.scopes)
        self.expires = token.expires
        self.fingerprint = raw_digest(token.fingerprint)
        self.key = token.key


class Authenticator:
    """Verifies tokens of *own* and of the *others*, by their ``iss``; remembers at most *most* of them.

    They are remembered as they are, which is half the time of a digest. A look-up compares two texts only when their
    keyed hashes are alike, so its time tells nothing of a token that somebody guesses at. Those that are bound to a
    key need a proof each time: *proofs* checks it.
    """

    def __init__(
        self,
        own: Issuer,
        others: Mapping[str, Issuer],
        fingerprint: Fingerprint | None,
        revoked: Revoked,
        most: int,
        metrics: Metrics,
        clock: Callable[[], float],
        proofs: Proofs,
    ) -> None:
        self._own = own
        self._issuers = {**others, own.name: own}
        self.fingerprint = fingerprint
        self._revoked = revoked
        self._most = most
        self._metrics = metrics
        self._clock = clock
        self.proofs = proofs
        self._known: dict[bytes, Known] = {}

    def recall(self, token: bytes, cookies: bytes) -> Known | None:
        """Return who *token* stands for where that is remembered; raises Refused when it is not good any more."""
        known = self._known.get(token)
        if known is None:
            return None
        if known.expires <= self._clock():
            del self._known[token]
            raise Refused("expired")
        if known.bound:
            self._check_fingerprint(known, cookies)
        self._metrics.known.inc()
        return known

    def verify(self, token: bytes, cookies: bytes) -> Known:
        """Return who *token* stands for, and remember it; raises Refused when it is not good, or lacks its cookie.

        Raises Unavailable while it is not known yet what has been revoked.
        """
        known = self._verify(token)
        if known.bound:
            self._check_fingerprint(known, cookies)
        self._remember(token, known)
        return known

    def forget_revoked(self) -> None:
        """Forget those that have been revoked meanwhile."""
        ends = self._revoked.ends
        self._known = {token: known for token, known in self._known.items() if not ends(known.token)}

    def forget_all(self) -> None:
        """Forget all, for the keys have changed, and with them what is good."""
        self._known.clear()

    @property
    def remembered(self) -> int:
        """How many are remembered."""
        return len(self._known)

    def _verify(self, token: bytes) -> Known:
        if len(token) > MOST_BYTES:
            raise Refused("too_long")
        compact = read(token)
        name = compact.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise Refused("issuer")
        verified = issuer.verify(compact)
        if not self._revoked.known:
            raise Unavailable("what has been revoked is not known yet")
        if self._revoked.ends(verified):
            raise Refused("revoked")
        return Known(verified, bound=self.fingerprint is not None and issuer is self._own)

    def _check_fingerprint(self, known: Known, cookies: bytes) -> None:
        if self.fingerprint is not None and not self.fingerprint.find(cookies, known.fingerprint):
            raise Refused("fingerprint")

    def _remember(self, token: bytes, known: Known) -> None:
        self._metrics.new.inc()
        if len(self._known) >= self._most:
            self._known.pop(next(iter(self._known)))
        self._known[token] = known
