"""A second service, which returns the stock of articles; run it with ``scalekit run sample_app/inventory.toml``."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scalekit.http.problem import ProblemResponse
from scalekit.http.trace_context import trace_context_of

STOCK = {1: 12, 2: 0, 3: 140}


async def show(request: Request) -> Response:
    """Return the stock of an article, and the trace id of the request."""
    article = request.path_params["id"]
    if article not in STOCK:
        return ProblemResponse(404, f"there is no article {article}")
    return JSONResponse({"id": article, "stock": STOCK[article], "trace": trace_context_of(request.scope).trace_id})


app = Starlette(routes=[Route("/stock/{id:int}", show)])
