"""Messages that the service publishes, their consumers, and what it does every night."""

from __future__ import annotations

from pydantic import BaseModel

from scalekit.contracts import DATABASE, Consumers, Message, Tick

ITEM_ADDED = "item.added"
SUMMARY = "summary"
LAST = "SELECT coalesce(max(id), 0) FROM items"
SUM = "SELECT count(*) AS items, coalesce(sum(value), 0) AS total FROM items WHERE id > :above AND id <= :up_to"
PARTS = 10
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


@consumers.on(SUMMARY, result_ttl="1h")
async def sum_up(message: Message[None]) -> dict[str, float]:
    """Count and add up all items in parts, and report the progress after each."""
    database = message.context.get(DATABASE)
    last = await database.fetch_val(LAST)
    items, total = 0, 0.0
    for part in range(PARTS):
        bounds = {"above": last * part // PARTS, "up_to": last * (part + 1) // PARTS}
        row = await database.fetch_all(SUM, bounds)
        items, total = items + row[0]["items"], total + row[0]["total"]
        message.progress((part + 1) / PARTS, f"{items} items")
    return {"items": items, "total": total}


@consumers.cron("0 3 * * *", dedupe="1d")
async def trim_items(message: Message[Tick]) -> None:
    """Delete all but the newest items, every night in one of the workers."""
    await message.context.get(DATABASE).execute(TRIM, {"kept": KEPT_ITEMS})
