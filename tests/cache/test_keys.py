"""Requests share a key only where an application reads the same resource and parameters from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from scalekit.testing import ReceivedResponse
from scalekit_cache.keys import REWRITING, canonical_query
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Pairs, Reply, collecting, empty_body

pytestmark = pytest.mark.anyio

PAGE_AND_TAGS = [("/**", CachePolicy(ttl=60.0, query=frozenset({b"page", b"tag[]", "größe".encode()})))]
ANYTHING = [("/**", CachePolicy(ttl=60.0))]


@pytest.mark.parametrize(
    "poison",
    ["p%61ge=666", "%70age=666", "utm=1&p%61ge=666", "utm=1;page=666", "utm;page=666", "page%00=666", "+page=666",
     "page+=666", "%20page=666", "page%=666", "p%u0061ge=666", "%ffpage=666", "page%00%00", "utm%3bpage=666",
     "page[]=666", "page%5B0%5D=666", "pag%65", "page", "page\xa0=666", "gr%C3%B6%C3%9Fe=XL", "tag%5B%5D=red",
     "tag[]=red", "tag[0]=red", "tag=red"],
)  # fmt: skip
async def test_an_encoded_query_parameter_does_not_poison_the_response_of_another_query(poison: str) -> None:
    harness = CacheHarness(Origin(Reply()), PAGE_AND_TAGS)
    assert (await harness.fetch(f"/shop?{poison}")).body == b"1"
    assert (await harness.fetch("/shop")).body == b"2"
    assert (await harness.fetch("/shop?utm=1")).body == b"2"


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
async def test_only_named_query_parameters_are_part_of_the_key(first: str, second: str, shared: bool) -> None:
    harness = CacheHarness(origin := Origin(Reply()), PAGE_AND_TAGS)
    await harness.fetch(f"/shop?{first}")
    await harness.fetch(f"/shop?{second}")
    assert origin.calls == (1 if shared else 2)


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
async def test_only_the_order_of_values_of_one_parameter_is_part_of_the_key(
    first: str, second: str, shared: bool
) -> None:
    harness = CacheHarness(origin := Origin(Reply()), ANYTHING)
    await harness.fetch(f"/?{first}")
    await harness.fetch(f"/?{second}")
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
key_names = st.one_of(st.none(), st.frozensets(st.sampled_from([name.encode() for name in NAMES]), max_size=3))


def read(query: bytes, names_in_key: frozenset[bytes] | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, value in QueryParams(query).multi_items():
        if names_in_key is None or name.encode() in names_in_key:
            found[name].append(value)
    return found


@settings(max_examples=500)
@given(queries, st.data(), key_names, st.booleans())
def test_two_queries_with_one_key_have_the_same_parameters(
    query: list[bytes], data: st.DataObject, names_in_key: frozenset[bytes] | None, is_sorted: bool
) -> None:
    more = data.draw(st.lists(parts, max_size=2))
    less = data.draw(st.lists(st.sampled_from(query), max_size=5)) if query else []
    other = data.draw(st.permutations([*less, *more]))
    first, second = b"&".join(query), b"&".join(other)
    if canonical_query(first, names_in_key, is_sorted) == canonical_query(second, names_in_key, is_sorted):
        assert read(first, names_in_key) == read(second, names_in_key)


@given(queries, key_names, st.booleans())
def test_the_canonical_query_is_idempotent(
    query: list[bytes], names_in_key: frozenset[bytes] | None, is_sorted: bool
) -> None:
    once = canonical_query(b"&".join(query), names_in_key, is_sorted)
    assert canonical_query(once, names_in_key, is_sorted) == once


CC = "Cache-Control"
STATIC = [("/**/*.css", CachePolicy(ttl=60.0)), ("/static/**", CachePolicy(ttl=60.0)), ("/*.js", CachePolicy(ttl=60.0))]


@pytest.mark.parametrize(
    "target",
    ["/account/x.css", "/me/x.css", "/me;a.css", "/me%2f..%2fa.js", "//me/a.css", "/me%00.css", "/static/../me",
     "/static/%2e%2e/me", "/static\\..\\me.css", "/me%3fa.css", "/me%23.css", "/static/%252e%252e/me", "/me%0a.css"],
)  # fmt: skip
@pytest.mark.parametrize("credential", ["Authorization", "Cookie"])
async def test_a_private_page_is_not_stored_by_a_policy_for_static_files(target: str, credential: str) -> None:
    harness = CacheHarness(Origin(Reply()), STATIC)
    assert (await harness.fetch(target, headers=[(credential, "victim")])).body == b"1"
    assert (await harness.fetch(target)).body == b"2"
    assert (await harness.fetch(target, headers=[(credential, "attacker")])).body == b"3"


@pytest.mark.parametrize(
    "target",
    [
        "/static/../me",
        "/static/..%2fme",
        "/static/%2e%2e/me",
        "//static/a",
        "/me;x.css",
        "/static/a%00",
        "/static/a%5cb",
    ],
)
async def test_an_ambiguous_path_has_no_policy(target: str) -> None:
    harness = CacheHarness(origin := Origin(Reply()), STATIC)
    await harness.fetch(target)
    await harness.fetch(target)
    assert origin.calls == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a%2Fb", "/a/b"),
        ("/A", "/a"),
        ("/a/", "/a"),
        ("/%61", "/a"),
        ("/a?b", "/a"),
        ("/a?b=1", "/a?B=1"),
        ("/a%3Fb", "/a?b"),
    ],
)
async def test_keys_contain_raw_path_and_query(first: str, second: str) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    await harness.fetch(first)
    await harness.fetch(second)
    assert origin.calls == 2


async def test_schemes_and_hosts_have_different_keys() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    hosts: list[Pairs] = [[], [("Host", "evil.example")], [("Host", "shop.example"), ("Host", "evil.example")]]
    for host in hosts:
        await harness.fetch(headers=host)
    await harness.fetch(scheme="https")
    assert origin.calls == 4


async def test_requests_without_a_host_are_keyed_by_the_address_of_the_server() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    servers: list[Any] = [("a.example", 80), ("b.example", 80), ("a.example", 8000), ("/run/socket", None), None]
    for _ in range(2):
        for server in servers:
            scope = harness.scope(headers=[], server=server)
            scope["headers"] = []
            await harness.chain(scope, empty_body, collecting(ReceivedResponse()))
    await harness.fetch(headers=[("Host", ""), ("Host", "shop.example")])
    await harness.fetch()
    assert origin.calls == len(servers) + 2


async def test_root_paths_have_different_keys() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    for _ in range(2):
        for root in ("", "/a", "/b"):
            await harness.fetch("/page", root_path=root)
    assert origin.calls == 3


@pytest.mark.parametrize("name", sorted(name.decode() for name in REWRITING))
async def test_a_rewriting_header_is_part_of_the_key(name: str) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    assert (await harness.fetch(headers=[(name, "evil.example")])).body == b"1"
    assert (await harness.fetch()).body == b"2"
    assert (await harness.fetch(headers=[(name, "evil.example")])).body == b"1"
    assert (await harness.fetch(headers=[(name, "other.example")])).body == b"3"
    assert origin.calls == 3
