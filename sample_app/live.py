"""New items as a stream for the home page, whichever worker adds them."""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.responses import Response

from scalekit.contracts import BROADCAST
from scalekit.errors import Unavailable
from scalekit_broadcast import server_sent_events

logger = structlog.get_logger("sample_app")

CHANNEL = "items"


async def stream_items(request: Request) -> Response:
    """Stream new items as server-sent events."""
    return server_sent_events(request, CHANNEL)


async def publish_item(request: Request, item: dict[str, object]) -> None:
    """Show *item* on all live pages; it is stored already, so a failure is only logged."""
    try:
        await BROADCAST(request).publish(CHANNEL, item)
    except Unavailable as error:
        logger.warning("live pages do not show an item", id=item["id"], error=str(error))
