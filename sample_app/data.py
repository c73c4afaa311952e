"""Data items."""

from __future__ import annotations

import structlog
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sample_app.events import ITEM_ADDED, ItemAdded
from sample_app.kept import ALIKE, KEPT, forget
from sample_app.metrics import ITEM_VALUES, ITEMS_ADDED, NEWEST_ITEM
from sample_app.validation import NO_NUL, read
from scalekit.contracts import DATABASE, QUEUE, READS
from scalekit.http.problem import ProblemResponse
from scalekit_cache import cached

logger = structlog.get_logger("sample_app")

NEWEST = "SELECT id, name, value FROM items ORDER BY id DESC LIMIT 100"
LARGEST = 1e15
"""Values stay below, so that no sum of them ceases to be a number."""
ADD = "INSERT INTO items (name, value) VALUES (:name, :value) RETURNING id"


class NewItem(BaseModel):
    """What a client sends to add an item."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, pattern=NO_NUL)
    value: float = Field(allow_inf_nan=False, ge=-LARGEST, le=LARGEST)


NEW_ITEM = TypeAdapter(NewItem)


@cached(ttl=KEPT, tags=["items"], stale_if_error="10m")
async def list_items(request: Request) -> Response:
    """Answer with the newest 100 items."""
    rows = await READS(request).fetch_all(NEWEST)
    return JSONResponse({"items": [dict(row) for row in rows]}, headers=ALIKE)


async def add_item(request: Request) -> Response:
    """Add the item in the body; 422 says what is wrong with it."""
    new = await read(request, NEW_ITEM, "an item")
    if isinstance(new, ProblemResponse):
        ITEMS_ADDED(request, "refused").inc()
        logger.warning("item refused")
        return new
    database = DATABASE(request)
    async with database.transaction():
        identifier = await database.execute(ADD, {"name": new.name, "value": new.value})
        await QUEUE(request).publish_after(database, ITEM_ADDED, ItemAdded(id=identifier, value=new.value))
    await forget(request, "items")
    ITEMS_ADDED(request, "kept").inc()
    NEWEST_ITEM(request).set(identifier)
    ITEM_VALUES(request).observe(new.value)
    logger.info("item added", id=identifier, name=new.name)
    return JSONResponse({"id": identifier, "name": new.name, "value": new.value}, 201)
