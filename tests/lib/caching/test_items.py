"""Digests of keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scalekit_caching.items import Value, digest
from tests.cache.harness import NOON

keys = st.lists(st.binary(max_size=6), max_size=6).map(tuple)


@given(keys, keys)
def test_different_keys_have_different_digests(first: tuple[bytes, ...], second: tuple[bytes, ...]) -> None:
    assert (digest(first) == digest(second)) == (first == second)


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=2, max_size=5))
def test_keys_with_other_borders_between_their_parts_have_different_digests(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    made = {digest((whole[:place], whole[place:])) for place in range(len(whole) + 1)}
    assert len(made) == len(whole) + 1


def test_a_value_is_retained_until_it_expires() -> None:
    assert Value((b"object", b"a"), b"", NOON + 5).retain_until() == NOON + 5
