"""The number of items that a purge from the command line reports."""

from __future__ import annotations

import pytest

from scalekit_cache.policies import CachePolicy
from scalekit_caching.purge_count import count_items, purge_and_count
from scalekit_caching.tags import name_tag, path_tag
from tests.cache.harness import Origin, Reply
from tests.lib.caching.table_store import CODEC, Table, new_process, wait_written

pytestmark = pytest.mark.anyio

NOTHING = "purged nothing: no stored item has such a tag or path"


async def filled() -> Table:
    """Return a store with responses, one of which varies, and a value."""
    table = Table()
    one = new_process(table, Origin(Reply([("Vary", "Foo")])), CachePolicy(ttl=60.0, tags=(name_tag("shop"),)))
    for target in ("/shop/1", "/shop/2", "/other"):
        await one.fetch(target)
    await one.values.set("value", 1, "1h", tags=["value", "shop"])
    await wait_written(one)
    return table


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([path_tag("/shop/*")], "purged 2 stored items"),
        ([path_tag("/shop/**"), path_tag("/other")], "purged 3 stored items"),
        ([name_tag("value")], "purged 1 stored items"),
        ([name_tag("shop")], "purged 4 stored items"),
        ([path_tag("/shop")], NOTHING),
        ([name_tag("nobody")], NOTHING),
    ],
)
async def test_items_with_a_tag_that_were_not_purged_before_are_counted(tags: list[bytes], message: str) -> None:
    table = await filled()
    assert await purge_and_count(table, CODEC, tags) == message
    assert await purge_and_count(table, CODEC, tags) == NOTHING


async def test_corrupt_items_are_not_counted() -> None:
    table = await filled()
    for name, frame in list(table.items.items()):
        table.items[name] = frame[:100]
    table.items[b"other"] = b"foreign"
    assert str(await count_items(table, CODEC, [name_tag("shop")])) == NOTHING


async def test_at_most_max_items_are_examined() -> None:
    found = await count_items(await filled(), CODEC, [name_tag("shop")], 2)
    assert not found.complete
    assert str(found).startswith("purged at least ")
