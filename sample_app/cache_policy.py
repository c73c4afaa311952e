"""How long responses are cached, by which caches, and how they are purged."""

from __future__ import annotations

import structlog
from starlette.requests import Request

from scalekit.contracts import CACHE
from scalekit.errors import Unavailable

logger = structlog.get_logger("sample_app")

TTL = "10s"
SHARED_HEADERS = {"cache-control": "private", "scalekit-cache-control": "public"}
"""Headers of responses that are the same for all authenticated users: only the service's own cache may store them."""


async def purge(request: Request, tag: str) -> None:
    """Purge responses with *tag*; when the shared store is unavailable, they expire after TTL."""
    try:
        await CACHE(request).purge(tag=tag)
    except Unavailable as error:
        logger.warning("purge failed: stale lists until their TTL", tag=tag, ttl=TTL, error=str(error))
