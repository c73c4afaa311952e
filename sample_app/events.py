"""Messages that the service publishes, their consumers, and what it does every night."""

from __future__ import annotations

from pydantic import BaseModel

from scalekit.contracts import DATABASE, Consumers, Message, Tick

ITEM_ADDED = "item.added"
COUNT = "UPDATE stats SET items = items + 1, total = total + :value"
KEPT_ITEMS = 100_000
TRIM = "DELETE FROM items WHERE id <= (SELECT max(id) FROM items) - :kept"

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


@consumers.cron("0 3 * * *", dedupe="1d")
async def trim_items(message: Message[Tick]) -> None:
    """Delete all but the newest items, every night in one of the workers."""
    await message.context.get(DATABASE).execute(TRIM, {"kept": KEPT_ITEMS})
