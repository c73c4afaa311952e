"""Messages that the service publishes, and their consumers."""

from __future__ import annotations

from pydantic import BaseModel

from scalekit.contracts import DATABASE
from scalekit.contracts.consumers import Consumers, Message

ITEM_ADDED = "item.added"
COUNT = "UPDATE stats SET items = items + 1, total = total + :value"

consumers = Consumers()


class ItemAdded(BaseModel):
    """An item was added."""

    id: int
    value: float


consumers.publishes(ITEM_ADDED, ItemAdded, "Sent after an item was added.")


@consumers.on(ITEM_ADDED, dedupe="1h")
async def count_item(message: Message[ItemAdded]) -> None:
    """Add the item to the statistics; a redelivered message is not counted again."""
    await message.context.get(DATABASE).execute(COUNT, {"value": message.body.value})
