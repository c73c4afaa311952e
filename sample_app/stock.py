"""Stock of articles, from the service inventory."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from scalekit.contracts import SERVICES


async def show_stock(request: Request) -> Response:
    """Forward the response of the inventory service; 503 when no instance is available."""
    inventory = SERVICES(request).client("inventory")
    async with inventory.get(f"/stock/{request.path_params['id']}") as response:
        return Response(await response.read(), response.status, media_type=response.content_type)
