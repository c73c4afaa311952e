"""What happens in the service, and what follows from it."""

from __future__ import annotations

from pydantic import BaseModel

from scalekit.contracts import DATABASE
from scalekit.contracts.consumers import Consumers, Message

ITEM_ADDED = "item.added"
COUNT = "UPDATE stats SET items = items + 1, total = total + :value"

consumers = Consumers()


class ItemAdded(BaseModel):
    """An item is there."""

    id: int
    value: float


@consumers.on(ITEM_ADDED, dedupe="1h")
async def count_item(message: Message[ItemAdded]) -> None:
    """Keep the sums true, though a message may come twice."""
    await message.context.get(DATABASE).execute(COUNT, {"value": message.body.value})
