"""Statistics of all items ever added, which a consumer updates for each item added."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scalekit.contracts import READS


async def show_stats(request: Request) -> Response:
    """Return the number of items and the sum of their values."""
    row = await READS(request).fetch_one("SELECT items, total FROM stats")
    return JSONResponse({"items": row["items"], "total": row["total"]} if row else {"items": 0, "total": 0.0})
