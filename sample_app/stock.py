"""What the service inventory has in stock."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from scalekit.contracts import SERVICES


async def show_stock(request: Request) -> Response:
    """Answer with what the inventory says; 503 while no instance of it can be reached."""
    inventory = SERVICES(request).client("inventory")
    async with inventory.get(f"/stock/{request.path_params['id']}") as answer:
        return Response(await answer.read(), answer.status, media_type=answer.content_type)
