"""A FastAPI application that uses a resource of a plugin as a dependency."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket
from pydantic import BaseModel

from scalekit_visits.keys import VISITS, Visits


class Item(BaseModel):
    name: str
    price: float


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, str]]:
    yield {"made": "at start"}


def made(request: Request) -> str:
    value: str = request.state.made
    return value


def make() -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def show(request: Request, state: Annotated[str, Depends(made)]) -> dict[str, str]:
        return {"state": state, "by name": str(request.url_for("item", number=7)), "app": type(request.app).__name__}

    @app.get("/visits")
    async def visits(visits: Annotated[Visits, Depends(VISITS)]) -> list[int]:
        return [visits.add("a"), visits.add("a")]

    @app.websocket("/visits")
    async def visits_by_socket(socket: WebSocket, visits: Annotated[Visits, Depends(VISITS)]) -> None:
        await socket.accept()
        await socket.send_json(visits.add("b"))
        await socket.close()

    @app.get("/inner/{number}")
    async def item(number: int) -> dict[str, int]:
        return {"number": number}

    @app.post("/items")
    def add(item: Item) -> Item:
        return item

    @app.get("/fail")
    async def fail() -> None:
        raise ValueError("it broke")

    @app.get("/refuse")
    async def refuse() -> None:
        raise HTTPException(418, "short and stout")

    return app
