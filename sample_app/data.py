"""Data items, kept in this process."""

from __future__ import annotations

from collections import deque
from itertools import count

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sample_app.metrics import ITEM_VALUES, ITEMS_ADDED, ITEMS_KEPT
from scalekit.problem import ProblemResponse

logger = structlog.get_logger("sample_app")


class NewItem(BaseModel):
    """What a client sends to add an item."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200)
    value: float


class Item(NewItem):
    """An item as it is kept and shown."""

    id: int


class Items:
    """The newest *limit* items."""

    def __init__(self, limit: int) -> None:
        self._items: deque[Item] = deque(maxlen=limit)
        self._ids = count(1)

    def add(self, new: NewItem) -> Item:
        """Keep *new* and return it with its id."""
        item = Item(id=next(self._ids), name=new.name, value=new.value)
        self._items.append(item)
        return item

    def __len__(self) -> int:
        return len(self._items)

    def newest(self, number: int) -> list[Item]:
        """Return the newest *number* items, newest first."""
        return [item for item, _ in zip(reversed(self._items), range(number), strict=False)]


async def list_items(request: Request) -> Response:
    """Answer with the newest 100 items."""
    items = request.state.items.newest(100)
    return JSONResponse({"items": [item.model_dump() for item in items]})


async def add_item(request: Request) -> Response:
    """Add the item in the body; 422 says what is wrong with it."""
    try:
        new = NewItem.model_validate_json(await request.body())
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        ITEMS_ADDED(request, "refused").inc()
        logger.warning("item refused", mistakes=len(problems))
        return ProblemResponse(422, "the body is not an item", errors=problems)
    items: Items = request.state.items
    item = items.add(new)
    ITEMS_ADDED(request, "kept").inc()
    ITEMS_KEPT(request).set(len(items))
    ITEM_VALUES(request).observe(item.value)
    logger.info("item added", id=item.id, name=item.name)
    return JSONResponse(item.model_dump(), 201)
