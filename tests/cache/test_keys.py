"""Queries share a key only where an application reads the same parameters from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from scalekit_cache.keys import canonical_query
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Reply

PAGE_AND_TAGS = [("/**", CachePolicy(ttl=60.0, query=frozenset({b"page", b"tag[]", "größe".encode()})))]
ANYTHING = [("/**", CachePolicy(ttl=60.0))]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "poison",
    ["p%61ge=666", "%70age=666", "utm=1&p%61ge=666", "utm=1;page=666", "utm;page=666", "page%00=666", "+page=666",
     "page+=666", "%20page=666", "page%=666", "p%u0061ge=666", "%ffpage=666", "page%00%00", "utm%3bpage=666",
     "page[]=666", "page%5B0%5D=666", "pag%65", "page", "page\xa0=666", "gr%C3%B6%C3%9Fe=XL", "tag%5B%5D=red",
     "tag[]=red", "tag[0]=red", "tag=red"],
)  # fmt: skip
async def test_however_a_named_parameter_is_written_it_does_not_change_the_page_of_others(poison: str) -> None:
    harness = CacheHarness(Origin(Reply()), PAGE_AND_TAGS)
    assert (await harness.ask(f"/shop?{poison}")).body == b"1"
    assert (await harness.ask("/shop")).body == b"2"
    assert (await harness.ask("/shop?utm=1")).body == b"2"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("tag%5B%5D=red", "tag%5B%5D=blue", False),
        ("page=1&utm=2", "utm=3&page=1", True),
        ("page=1&ut%6D=2", "page=1", True),
        ("page=1&page=2", "page=2&page=1", False),
        ("page=1&p%61ge=2", "p%61ge=2&page=1", False),
        ("page=1&tag[]=a", "tag[]=a&page=1", True),
        ("tag[]=a&tag[]=b", "tag[]=b&tag[]=a", False),
        ("page=1&", "page=1", True),
        ("page=1", "page=1#", False),
    ],
)
async def test_named_parameters_are_told_apart_and_others_are_not(first: str, second: str, shared: bool) -> None:
    harness = CacheHarness(origin := Origin(Reply()), PAGE_AND_TAGS)
    await harness.ask(f"/shop?{first}")
    await harness.ask(f"/shop?{second}")
    assert origin.calls == (1 if shared else 2)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("a=1&b=2", "b=2&a=1", True),
        ("a=1&%61=2", "%61=2&a=1", False),
        ("a=1&%62=2", "%62=2&a=1", True),
        ("a=1;b=2&a=3", "a=3&a=1;b=2", False),
        ("a=1&b;a=2", "b;a=2&a=1", False),
        ("a[]=1&a[0]=2", "a[0]=2&a[]=1", False),
        ("a=1&%ff=2", "%ff=2&a=1", False),
        ("a=1&+a=2", "+a=2&a=1", False),
        ("a+b=1&a%20b=2", "a%20b=2&a+b=1", False),
        ("a=1&b", "b&a=1", True),
    ],
)
async def test_the_order_counts_between_values_of_one_name(first: str, second: str, shared: bool) -> None:
    harness = CacheHarness(origin := Origin(Reply()), ANYTHING)
    await harness.ask(f"/?{first}")
    await harness.ask(f"/?{second}")
    assert origin.calls == (1 if shared else 2)


NAMES = ["a", "b", "tag[]", "ä", "a b", "", "é&="]
Write = Callable[[str], str]


def every_byte(name: str) -> str:
    return "".join(f"%{byte:02x}" for byte in name.encode())


written: st.SearchStrategy[Write] = st.sampled_from([str, quote, every_byte])
raw = st.sampled_from(
    ["a", "%61", "A", "%", "%zz", "%ff", "%c3", ";", "+", "%20", "%00", "=", "&", "[0]", "\xe4", "b;a=1"]
)
names = st.one_of(
    st.builds(lambda name, write: write(name), st.sampled_from(NAMES), written), st.lists(raw, max_size=3).map("".join)
)
values = st.sampled_from(["", "=", "=1", "=2", "=%31", "=1;a=2", "=;", "=%ff", "=a=b"])
parts = st.builds(lambda name, value: (name + value).encode("latin-1", "replace"), names, values)
queries = st.lists(parts, max_size=5)
kept_names = st.one_of(st.none(), st.frozensets(st.sampled_from([name.encode() for name in NAMES]), max_size=3))


def read(query: bytes, kept: frozenset[bytes] | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, value in QueryParams(query).multi_items():
        if kept is None or name.encode() in kept:
            found[name].append(value)
    return found


@settings(max_examples=1500)
@given(queries, st.data(), kept_names, st.booleans())
def test_two_queries_with_one_key_are_read_alike(
    query: list[bytes], data: st.DataObject, kept: frozenset[bytes] | None, is_sorted: bool
) -> None:
    more = data.draw(st.lists(parts, max_size=2))
    less = data.draw(st.lists(st.sampled_from(query), max_size=5)) if query else []
    other = data.draw(st.permutations([*less, *more]))
    first, second = b"&".join(query), b"&".join(other)
    if canonical_query(first, kept, is_sorted) == canonical_query(second, kept, is_sorted):
        assert read(first, kept) == read(second, kept)


@given(queries, kept_names, st.booleans())
def test_a_key_is_its_own_key(query: list[bytes], kept: frozenset[bytes] | None, is_sorted: bool) -> None:
    once = canonical_query(b"&".join(query), kept, is_sorted)
    assert canonical_query(once, kept, is_sorted) == once
