"""Counts of the most frequent keys, in one process and in sum over several."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
from hypothesis import given

from scalekit_ratelimit.heavy_hitters import HeavyHitters, total_hitters

STREAMS = st.lists(st.sampled_from("abcdefgh"), max_size=200)


def counted(stream: list[str], capacity: int) -> HeavyHitters:
    hitters = HeavyHitters(capacity)
    for key in stream:
        hitters.add(key)
    return hitters


@given(st.lists(STREAMS, min_size=1, max_size=4), st.integers(1, 9))
def test_the_true_count_is_within_the_bounds(streams: list[list[str]], capacity: int) -> None:
    parts = [counted(stream, capacity) for stream in streams]
    true = Counter(key for stream in streams for key in stream)
    totals = total_hitters((part.floor, part.items) for part in parts)
    assert all(len(part.items) <= capacity for part in parts)
    for key, count in true.items():
        if key in totals:
            assert totals[key].at_least <= count <= totals[key].at_most
        else:
            assert count <= sum(part.floor for part in parts)
        if all(key in part.items for part in parts):
            assert totals[key].at_most == sum(part.items[key].count for part in parts)
    if capacity >= len(true):
        assert {key: total.at_least for key, total in totals.items()} == true


@given(STREAMS, st.integers(1, 9))
def test_counts_add_up_to_the_length_of_the_stream(stream: list[str], capacity: int) -> None:
    hitters = counted(stream, capacity)
    assert sum(item.count for item in hitters.items.values()) == len(stream)
    if len(hitters.items) == capacity:
        assert hitters.floor == min(item.count for item in hitters.items.values())


def test_a_frequent_key_survives_ten_thousand_others() -> None:
    hitters = HeavyHitters()
    for number in range(10_000):
        hitters.add(f"10.0.{number // 256}.{number % 256}")
        if number % 10 == 0:
            hitters.add("203.0.113.7")
    assert len(hitters.items) == 100
    (frequent, total), *_ = total_hitters([(hitters.floor, hitters.items)]).items()
    assert frequent == "203.0.113.7"
    assert total.at_least <= 1000 <= total.at_most


def test_details_are_those_of_the_last_addition() -> None:
    one, other = HeavyHitters(), HeavyHitters()
    one.add("a").details = {"at": 2.0, "address": "late"}
    other.add("a").details = {"at": 1.0, "address": "early"}
    for parts in ([one, other], [other, one]):
        assert total_hitters((part.floor, part.items) for part in parts)["a"].details["address"] == "late"
