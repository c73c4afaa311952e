"""Tokens for what a client has written: asked of the primary after the write, or by time where it does not tell."""

from __future__ import annotations

import asyncio
import logging
from math import ceil
from time import time

from scalekit.contracts import Consistency, Database
from scalekit_replica.metrics import Metrics
from scalekit_replica.token_codec import Contents, Signer
from scalekit_replica.wal_position import position_of

logger = logging.getLogger("scalekit.replica")

ANSWER_LIMIT = 0.25
"""Seconds that an answer is held up for the primary to tell its position."""


class Tokens:
    """Issues and reads tokens; *sticky* and *lifetime* are in seconds."""

    def __init__(self, signer: Signer, primary: Database, sticky: float, lifetime: float, metrics: Metrics) -> None:
        self._signer = signer
        self._primary = primary
        self._sticky = sticky
        self._lifetime = lifetime
        self._metrics = metrics

    async def issue(self, consistency: Consistency) -> str:
        """Return the token for *consistency*, empty where nothing was written; gives its writes a position."""
        if consistency.wrote or consistency.pending:
            await self.settle(consistency)
        now = time()
        until = consistency.until if consistency.until > now else 0.0
        if not until and not consistency.position:
            return ""
        self._metrics.token("issued")
        return self._signer.sign(Contents(consistency.position, until, ceil(now + self._lifetime)))

    def read(self, token: str) -> Consistency | None:
        """Return what *token* says, or None where it is not ours or has expired."""
        contents = self._signer.read(token)
        if contents is None or contents.expires <= time():
            self._metrics.token("refused" if contents is None else "expired")
            return None
        self._metrics.token("read")
        return Consistency(contents.position, contents.until)

    async def settle(self, consistency: Consistency) -> None:
        """Give the writes of *consistency* a position, or a time where none is known or a transaction is still open.

        What is written meanwhile counts as a write after it.
        """
        position = 0
        is_open = consistency.pending > 0
        consistency.wrote = False
        consistency.pending += 1
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                position = await position_of(self._primary)
        except Exception as error:
            logger.debug("the primary does not tell its position: %r", error)
        except BaseException:
            consistency.wrote = True
            raise
        finally:
            consistency.pending -= 1
        consistency.position = max(consistency.position, position)
        if is_open or not position:
            consistency.until = time() + self._sticky
