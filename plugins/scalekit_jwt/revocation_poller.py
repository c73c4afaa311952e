"""Look again and again at what has been revoked, and whether the keys have changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from scalekit.resilience import Unavailable
from scalekit_jwt.authenticator import Authenticator
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.token_service import TokenService

logger = logging.getLogger("scalekit.jwt")

SWEEP_INTERVAL = 60.0


class RevocationPoller:
    """Keeps what this process knows up to date; *reload* tells whether there are other keys."""

    def __init__(
        self,
        tokens: TokenService,
        authenticator: Authenticator,
        reload: Callable[[], bool],
        metrics: JwtMetrics,
        clock: Callable[[], float],
    ) -> None:
        self._tokens = tokens
        self._authenticator = authenticator
        self._reload = reload
        self._metrics = metrics
        self._clock = clock
        self._swept = clock()
        self._asked = asyncio.Event()
        self.trouble = ""

    def ask(self) -> None:
        """Look at once, for something was revoked here."""
        self._asked.set()

    async def look(self) -> None:
        """Look once; raises what the database raises."""
        if self._reload():
            self._authenticator.clear_cache()
        if await self._tokens.learn():
            self._authenticator.evict_revoked()
        self._metrics.remembered.set(self._authenticator.remembered)
        now = self._clock()
        if now - self._swept >= SWEEP_INTERVAL:
            self._swept = now
            await self._tokens.sweep()

    async def begin(self) -> None:
        """Look for the first time; raises whatever is wrong, but that what remembers revocations is gone for now."""
        try:
            await self.look()
        except Unavailable as error:
            self._note(error)

    async def run(self, every: float) -> None:
        """Look for as long as it runs."""
        while True:
            try:
                await asyncio.wait_for(self._asked.wait(), every)
            except TimeoutError:
                pass
            self._asked.clear()
            try:
                await self.look()
                self.trouble = ""
            except Exception as error:
                self._note(error)

    def _note(self, error: Exception) -> None:
        if not self.trouble:
            logger.error("what has been revoked is not known: %s", error)
        self.trouble = f"what has been revoked is not known: {_told(error)}"


def _told(error: Exception) -> str:
    return error.reason if isinstance(error, Unavailable) else type(error).__name__
