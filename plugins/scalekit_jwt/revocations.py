"""Revoked tokens, sessions and subjects, and the poller that loads new revocations from the session store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from scalekit import Unavailable
from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.session_store import Revocation, SessionStore
from scalekit_jwt.token_verifier import VerifiedToken

logger = logging.getLogger("scalekit.jwt")

SWEEP_INTERVAL = 60.0
"""Seconds between removals of expired sessions and revocations."""


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


class TokenCache(Protocol):
    """The cache of verified tokens."""

    @property
    def cached_tokens(self) -> int:
        """The number of cached tokens."""
        ...

    def evict_revoked(self) -> None:
        """Evict tokens that have been revoked."""
        ...

    def clear_cache(self) -> None:
        """Evict all tokens, after the keys have changed."""
        ...


class RevocationPoller:
    """Loads new *revocations* from *store*, reloads changed keys, and removes expired sessions.

    *reload_keys* returns whether the keys have changed. A session lasts at most *max_session_age* seconds.
    """

    def __init__(
        self,
        store: SessionStore,
        revocations: Revocations,
        cache: TokenCache,
        *,
        reload_keys: Callable[[], bool],
        max_session_age: float,
        metrics: JwtMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._revocations = revocations
        self._cache = cache
        self._reload_keys = reload_keys
        self._max_session_age = max_session_age
        self._metrics = metrics
        self._clock = clock
        self._swept_at = clock()
        self._wake = asyncio.Event()
        self.last_error = ""

    def wake(self) -> None:
        """Poll at once, after this process has revoked something."""
        self._wake.set()

    async def poll(self) -> None:
        """Poll once; raises any error of the session store."""
        if self._reload_keys():
            self._cache.clear_cache()
        now = self._clock()
        if self._revocations.add(await self._store.revocations(self._revocations.last_number, now)):
            self._cache.evict_revoked()
        self._metrics.cached_tokens.set(self._cache.cached_tokens)
        if now - self._swept_at >= SWEEP_INTERVAL:
            self._swept_at = now
            await self.remove_expired()

    async def remove_expired(self) -> None:
        """Remove expired entries; a subject's revocation expires with the longest session that it ended."""
        now = self._clock()
        self._revocations.remove_expired(now)
        await self._store.remove_expired(now, now - self._max_session_age)

    async def start(self) -> None:
        """Poll for the first time; raises any error but Unavailable, which is recorded."""
        try:
            await self.poll()
        except Unavailable as error:
            self._record(error)

    async def run(self, interval: float) -> None:
        """Poll every *interval* seconds until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), interval)
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.poll()
                self.last_error = ""
            except Exception as error:
                self._record(error)

    def _record(self, error: Exception) -> None:
        if not self.last_error:
            logger.error("revocations cannot be read, tokens revoked elsewhere stay valid: %s", error)
        reason = error.reason if isinstance(error, Unavailable) else type(error).__name__
        self.last_error = f"revocations cannot be read: {reason}"
