"""``/-/memory``, for operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from scalekit.memory.growth import Growth
from scalekit.problem import ProblemResponse
from scalekit.routes import ManagementRoute

PATH = "/-/memory"


def memory_route(admits: Callable[[Scope], bool]) -> ManagementRoute:
    """Return the page, for clients that *admits* lets in."""
    growth = Growth()
    looking = asyncio.Lock()

    async def page(request: Request) -> Response:
        if not admits(request.scope):
            return ProblemResponse(403, "for operators: come from a network of server.trusted, or send server.token")
        async with looking:
            content = await asyncio.to_thread(growth.look)
        headers = {"cache-control": "no-store"}
        return Response(orjson.dumps(content, option=orjson.OPT_INDENT_2), 200, headers, "application/json")

    return ManagementRoute(PATH, page)
