"""What the limiter needs of a store that all instances share, and the errors of such stores."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from scalekit import Unavailable
from scalekit_ratelimit.headers import HitResults
from scalekit_ratelimit.limits import Hit
from scalekit_redis import RedisUnavailable, ReplyError

if TYPE_CHECKING:
    from scalekit_ratelimit.limit_checks import SingleLimit

HitReplies = Sequence[tuple[Sequence[Hit], asyncio.Future[Any]]]
"""Hits that are counted together, and the future of their reply."""


class DatabaseUnavailable(Unavailable):
    """The database did not count: *kind* is ``timeout``, ``full`` (too many hits wait) or ``failed``.

    After a timeout the hits may have been counted.
    """

    def __init__(self, reason: str, kind: Literal["timeout", "full", "failed"]) -> None:
        super().__init__(reason)
        self.kind = kind


STORE_ERRORS = (RedisUnavailable, ReplyError, DatabaseUnavailable)
"""Errors of a check whose hits a shared store did not count, or may not have counted."""


class PendingHits:
    """The hits of one request and, once they were sent to a shared store, the futures of their replies."""

    __slots__ = ("hits", "replies")

    def __init__(self, hits: Sequence[Hit]) -> None:
        self.hits = hits
        self.replies: HitReplies = []

    def set_replies(self, replies: HitReplies) -> asyncio.Future[Any]:
        """Store *replies*; return the future that is done once all of them are."""
        self.replies = replies
        futures = [future for _, future in replies]
        return futures[0] if len(futures) == 1 else asyncio.gather(*futures, return_exceptions=True)


class SharedLimiter(Protocol):
    """Counts hits for all instances; methods raise one of STORE_ERRORS."""

    @property
    def store(self) -> str:
        """The name of the store in messages."""
        ...

    def send_gcra(self, limit: SingleLimit, key: str) -> asyncio.Future[Any]:
        """Send a hit on one limit and return the future of its reply."""
        ...

    def read_gcra(self, limit: SingleLimit, reply: asyncio.Future[Any]) -> int:
        """Return the slack of *limit*, once the reply has arrived."""
        ...

    def send_hits(self, pending: PendingHits) -> asyncio.Future[Any]:
        """Send hits of which all or none are counted; in a Redis Cluster, those of each hash slot."""
        ...

    def read_replies(self, pending: PendingHits) -> HitResults:
        """Return the state of each limit, once all replies have arrived."""
        ...

    async def reset(self, hits: Sequence[Hit]) -> None:
        """Delete the counters of *hits*."""
        ...

    async def probe(self, timeout: float = 1.0) -> None:
        """Return when the store replies within *timeout* seconds."""
        ...
