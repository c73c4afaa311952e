"""List and add items."""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sample_app.cache_policy import SHARED_HEADERS, TTL, purge
from sample_app.events import ITEM_ADDED, ItemAdded
from sample_app.live import publish_item
from sample_app.metrics import ITEM_VALUES, ITEMS_ADDED, NEWEST_ITEM
from sample_app.tables import items
from sample_app.validation import NO_NUL, parse_body
from scalekit.contracts import DATABASE, QUEUE, READS
from scalekit.http.problem import ProblemResponse
from scalekit_cache import cached

logger = structlog.get_logger("sample_app")

NEWEST = select(items).order_by(items.c.id.desc()).limit(100)
MAX_VALUE = 1e15
"""Limit of the absolute value of an item, so that sums of values are finite."""
ADD = items.insert().returning(items.c.id)


class NewItem(BaseModel):
    """The request body that adds an item."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, pattern=NO_NUL)
    value: float = Field(allow_inf_nan=False, ge=-MAX_VALUE, le=MAX_VALUE)


NEW_ITEM = TypeAdapter(NewItem)


@cached(ttl=TTL, tags=["items"], stale_if_error="10m")
async def list_items(request: Request) -> Response:
    """Return the newest 100 items."""
    rows = await READS(request).fetch_all(NEWEST)
    return JSONResponse({"items": [dict(row) for row in rows]}, headers=SHARED_HEADERS)


async def add_item(request: Request) -> Response:
    """Add the item in the body, or respond with 422 when the body is invalid."""
    new = await parse_body(request, NEW_ITEM, "an item")
    if isinstance(new, ProblemResponse):
        ITEMS_ADDED(request, "rejected").inc()
        logger.warning("item rejected")
        return new
    database = DATABASE(request)
    async with database.transaction():
        identifier = await database.execute(ADD, {"name": new.name, "value": new.value})
        await QUEUE(request).publish_after(database, ITEM_ADDED, ItemAdded(id=identifier, value=new.value))
    item = {"id": identifier, "name": new.name, "value": new.value}
    await database.on_commit(partial(_announce, request, item))
    return JSONResponse(item, 201)


async def _announce(request: Request, item: dict[str, Any]) -> None:
    """Show *item* everywhere: with an Idempotency-Key it is committed after the handler, together with the response."""
    await purge(request, "items")
    ITEMS_ADDED(request, "stored").inc()
    NEWEST_ITEM(request).set(item["id"])
    ITEM_VALUES(request).observe(item["value"])
    logger.info("item added", id=item["id"], name=item["name"])
    await publish_item(request, item)
