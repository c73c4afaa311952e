"""The sample service: data items over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypedDict

from starlette.applications import Starlette
from starlette.routing import Route

from sample_app.data import Items, add_item, list_items
from sample_app.page import home


class State(TypedDict):
    """What the service keeps for its requests."""

    items: Items


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[State, None]:
    """Give every request the same items."""
    yield {"items": Items(limit=10_000)}


app = Starlette(
    routes=[
        Route("/", home),
        Route("/api/data", list_items, methods=["GET"]),
        Route("/api/data", add_item, methods=["POST"]),
    ],
    lifespan=lifespan,
)
