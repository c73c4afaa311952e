"""How much a purge from the command line says that it purged."""

from __future__ import annotations

import pytest

from scalekit_cache.policies import CachePolicy
from scalekit_caching import purge_count
from scalekit_caching.purge_count import count_items, purge_and_count
from scalekit_caching.tags import name_tag, path_tag
from tests.cache.harness import Origin, Reply
from tests.lib.caching.test_tiered_store import CODEC, Table, process, written

pytestmark = pytest.mark.anyio

NOTHING = "purged nothing: no stored item has such a tag or path"


async def filled() -> Table:
    """Return a store with some responses, one of which varies, and a value."""
    table = Table()
    one = process(table, Origin(Reply([("Vary", "Foo")])), CachePolicy(ttl=60.0, tags=(name_tag("shop"),)))
    for target in ("/shop/1", "/shop/2", "/other"):
        await one.ask(target)
    await one.objects.set("value", 1, "1h", tags=["value", "shop"])
    await written(one)
    return table


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ([path_tag("/shop/*")], "purged 2 stored items"),
        ([path_tag("/shop/**"), path_tag("/other")], "purged 3 stored items"),
        ([name_tag("value")], "purged 1 stored items"),
        ([name_tag("shop")], "purged 4 stored items"),
        ([path_tag("/shop")], NOTHING),
        ([name_tag("nobody")], NOTHING),
    ],
)
async def test_it_counts_what_has_a_tag_and_was_not_purged_before(tags: list[bytes], said: str) -> None:
    table = await filled()
    assert await purge_and_count(table, CODEC, tags) == said
    assert await purge_and_count(table, CODEC, tags) == NOTHING


async def test_what_cannot_be_read_is_not_counted() -> None:
    table = await filled()
    for name, frame in list(table.frames.items()):
        table.frames[name] = frame[:100]
    table.frames[b"other"] = b"of somebody else"
    assert str(await count_items(table, CODEC, [name_tag("shop")])) == NOTHING


async def test_it_looks_at_so_many_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge_count, "MAX_ITEMS", 2)
    found = await count_items(await filled(), CODEC, [name_tag("shop")])
    assert not found.complete
    assert str(found).startswith("purged at least ")
