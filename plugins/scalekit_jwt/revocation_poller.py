"""Poll the session store for revocations, reload changed keys, and remove expired sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from scalekit import Unavailable
from scalekit_jwt.authenticator import Authenticator
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.token_service import TokenService

logger = logging.getLogger("scalekit.jwt")

SWEEP_INTERVAL = 60.0
"""Seconds between removals of expired sessions and revocations."""


class RevocationPoller:
    """Keeps the revocations and keys of this process up to date; *reload_keys* returns whether keys have changed."""

    def __init__(
        self,
        tokens: TokenService,
        authenticator: Authenticator,
        *,
        reload_keys: Callable[[], bool],
        metrics: JwtMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._tokens = tokens
        self._authenticator = authenticator
        self._reload_keys = reload_keys
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
            self._authenticator.clear_cache()
        if await self._tokens.load_revocations():
            self._authenticator.evict_revoked()
        self._metrics.cached_tokens.set(self._authenticator.cached_tokens)
        now = self._clock()
        if now - self._swept_at >= SWEEP_INTERVAL:
            self._swept_at = now
            await self._tokens.remove_expired()

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
