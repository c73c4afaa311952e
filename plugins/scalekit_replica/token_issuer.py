"""Issue consistency tokens with the LSN of the client's last write, or with a time if the LSN is unknown."""

from __future__ import annotations

import asyncio
import logging
from math import ceil
from time import time

from scalekit.contracts import Consistency, Database
from scalekit_replica.metrics import RoutingMetrics
from scalekit_replica.token_codec import TokenCodec, TokenContents
from scalekit_replica.wal_position import commit_position

logger = logging.getLogger("scalekit.replica")

POSITION_TIMEOUT = 0.25
"""Maximum seconds that a response is delayed to query the LSN of the primary."""


class TokenIssuer:
    """Issues and reads tokens; *primary_after_write* and *token_ttl* are in seconds."""

    def __init__(
        self,
        codec: TokenCodec,
        primary: Database,
        primary_after_write: float,
        token_ttl: float,
        metrics: RoutingMetrics,
    ) -> None:
        self._codec = codec
        self._primary = primary
        self._primary_after_write = primary_after_write
        self._token_ttl = token_ttl
        self._metrics = metrics

    async def issue(self, consistency: Consistency) -> str:
        """Return the token for *consistency*, empty if nothing was written, after resolving its writes to an LSN."""
        if consistency.wrote or consistency.pending:
            await self.settle(consistency)
        now = time()
        until = consistency.until if consistency.until > now else 0.0
        if not until and not consistency.position:
            return ""
        self._metrics.token("issued")
        return self._codec.encode(TokenContents(consistency.position, until, ceil(now + self._token_ttl)))

    def read(self, token: str) -> Consistency | None:
        """Return the consistency of *token*, or None if it is invalid or expired."""
        contents = self._codec.decode(token)
        if contents is None or contents.expires <= time():
            self._metrics.token("rejected" if contents is None else "expired")
            return None
        self._metrics.token("accepted")
        return Consistency(contents.position, contents.until)

    async def settle(self, consistency: Consistency) -> None:
        """Resolve the writes of *consistency* to an LSN, or to a time if it is unknown or a transaction is still open.

        Writes during the query count as later writes.
        """
        position = 0
        is_open = consistency.pending > 0
        consistency.wrote = False
        consistency.pending += 1
        try:
            async with asyncio.timeout(POSITION_TIMEOUT):
                position = await commit_position(self._primary)
        except Exception as error:
            logger.debug("cannot query the LSN of the primary: %r", error)
        except BaseException:
            consistency.wrote = True
            raise
        finally:
            consistency.pending -= 1
        consistency.position = max(consistency.position, position)
        if is_open or not position:
            consistency.until = time() + self._primary_after_write
