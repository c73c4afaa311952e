"""A Starlette application with typical routes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, str]]:
    yield {"made": "at start"}


async def show(request: Request) -> Response:
    return JSONResponse(
        {
            "state": request.state.made,
            "url": str(request.url),
            "by name": str(request.url_for("inner:item", number=7)),
            "app": type(request.app).__name__,
            "root_path": request.scope["root_path"],
            "client": request.client.host if request.client else None,
            "query": dict(request.query_params),
            "router": type(request.scope["router"]).__name__,
        }
    )


async def item(request: Request) -> Response:
    return JSONResponse({"number": request.path_params["number"]})


async def fail(request: Request) -> Response:
    raise ValueError("it broke")


async def refuse(request: Request) -> Response:
    raise HTTPException(418, "short and stout")


async def body(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def on_teapot(request: Request, error: Exception) -> Response:
    return PlainTextResponse("tea", 418)


def make(debug: bool = False) -> Starlette:
    routes = [
        Route("/", show),
        Route("/fail", fail),
        Route("/refuse", refuse),
        Route("/body", body, methods=["POST"]),
        Mount("/inner", routes=[Route("/{number:int}", item, name="item")], name="inner"),
    ]
    return Starlette(debug, routes, exception_handlers={418: on_teapot}, lifespan=lifespan)
