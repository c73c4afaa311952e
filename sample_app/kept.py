"""What the cache keeps of the service."""

from __future__ import annotations

import structlog
from starlette.requests import Request

from scalekit.contracts import CACHE
from scalekit.errors import Unavailable

logger = structlog.get_logger("sample_app")

KEPT = "10s"
"""How long a list is kept where nothing changes it."""
ALIKE = {"cache-control": "private", "scalekit-cache-control": "public"}
"""Headers of what everybody who has logged in gets alike: the cache behind the login may keep it, others may not."""


async def forget(request: Request, tag: str) -> None:
    """Have lists with *tag* made anew. Where the cache cannot be told they end by themselves, soon enough to go on."""
    try:
        await CACHE(request).purge(tag=tag)
    except Unavailable as error:
        logger.warning("lists may be old for a while", tag=tag, kept=KEPT, error=str(error))
