"""Eviction by SIEVE."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from scalekit_caching.items import OVERHEAD, Item
from scalekit_caching.sieve import Sieve


def item(name: int, size: int = 0) -> Item:
    return Item((b"%d" % name,), size)


@given(
    st.lists(st.tuples(st.sampled_from(["put", "put again", "use", "remove"]), st.integers(0, 8), st.integers(0, 1500)))
)
def test_the_size_never_exceeds_the_budget_and_is_the_sum_of_items(steps: list[tuple[str, int, int]]) -> None:
    sieve = Sieve(5 * OVERHEAD)
    before: dict[int, Item] = {}
    for step, name, size in steps:
        key = (b"%d" % name,)
        if step.startswith("put"):
            new = before[name] if step == "put again" and name in before else item(name, size)
            before[name] = new
            sieve.put(new)
            assert sieve.items.get(key) is (new if new.size <= sieve.budget else None)
        elif step == "use" and key in sieve.items:
            sieve.items[key].visited = True
        elif step == "remove":
            was_there = key in sieve.items
            assert sieve.remove(key) == was_there
            assert key not in sieve.items
        assert sieve.size == sum(each.size for each in sieve.items.values()) <= sieve.budget
        forward, each = [], sieve._oldest
        while each is not None:
            forward.append(each)
            each = each.newer
        backward, each = [], sieve._newest
        while each is not None:
            backward.append(each)
            each = each.older
        assert forward == backward[::-1]
        assert set(forward) == set(sieve.items.values())
        assert sieve._hand is None or sieve._hand in forward


def test_used_items_stay_and_items_read_once_are_evicted() -> None:
    sieve = Sieve(10 * OVERHEAD)
    for name in range(5):
        sieve.put(item(name))
    for scanned in range(100, 1000):
        for name in range(5):
            sieve.items[(b"%d" % name,)].visited = True
        sieve.put(item(scanned))
    assert all((b"%d" % name,) in sieve.items for name in range(5))
    assert sieve.evictions == 895


def misses(capacity: int, requests: list[int], *, promotes: bool) -> int:
    """Count the misses of a table of *capacity* items; one that *promotes* is LRU."""
    sieve, count = Sieve(capacity * OVERHEAD), 0
    order: dict[int, None] = {}
    for name in requests:
        if promotes:
            count += name in order
            order.pop(name, None)
            order[name] = None
            if len(order) > capacity:
                del order[next(iter(order))]
            continue
        found = sieve.items.get((b"%d" % name,))
        if found is None:
            sieve.put(item(name))
        else:
            found.visited = True
            count += 1
    return len(requests) - count


def test_the_hit_ratio_is_better_than_that_of_lru() -> None:
    source = random.Random(7)
    requests = [int(source.paretovariate(0.9)) for _ in range(30_000)]
    assert misses(100, requests, promotes=False) < 0.9 * misses(100, requests, promotes=True)
