"""A Litestar application."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath, JSONBody


@asynccontextmanager
async def lifespan(app: Litestar) -> AsyncGenerator[None]:
    app.state.made = "at start"
    yield


@get("/")
async def show(request: Request[Any, Any, Any]) -> dict[str, str]:
    return {"state": request.app.state.made, "url": str(request.url)}


@get("/inner/{number:int}")
async def item(number: FromPath[int]) -> dict[str, int]:
    return {"number": number}


@post("/items")
async def add(data: JSONBody[dict[str, float]]) -> dict[str, float]:
    return data


@get("/fail")
async def fail() -> None:
    raise ValueError("it broke")


@get("/refuse")
async def refuse() -> None:
    raise HTTPException("short and stout", status_code=418)


def make() -> Litestar:
    return Litestar([show, item, add, fail, refuse], lifespan=[lifespan])
