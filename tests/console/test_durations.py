from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_console.durations import SHORTEST, count_durations, duration_bucket, percentile

DURATIONS = st.lists(st.floats(0, 1e7), max_size=100)


@given(DURATIONS)
def test_counts_of_many_are_those_of_each(durations: list[float]) -> None:
    assert count_durations(durations) == Counter(map(duration_bucket, durations))


@given(DURATIONS)
def test_buckets_ascend_with_durations(durations: list[float]) -> None:
    buckets = [duration_bucket(each) for each in sorted(durations)]
    assert buckets == sorted(buckets)


def test_a_power_of_two_has_four_buckets() -> None:
    first = duration_bucket(0.5)
    assert [duration_bucket(each) - first for each in (0.5, 0.62, 0.63, 0.76, 0.88, 0.99, 1.0)] == [0, 0, 1, 2, 3, 3, 4]
    assert duration_bucket(0) == duration_bucket(SHORTEST)


@given(st.lists(st.floats(1e-5, 1e7), min_size=1, max_size=50))
def test_percentiles_are_exact_within_the_width_of_a_bucket(durations: list[float]) -> None:
    highest = percentile(1.0, count_durations(durations))
    assert highest is not None
    assert max(durations) * 0.999 <= highest <= max(durations) * 1.251


def test_a_percentile_without_durations_is_missing() -> None:
    assert percentile(0.5, count_durations([])) is None


def test_a_percentile_weighs_buckets_by_their_counts() -> None:
    counts = {duration_bucket(0.01): 90.5, duration_bucket(1.0): 9.5}
    assert percentile(0.9, counts) == pytest.approx(0.01, rel=0.3)
    assert percentile(0.95, counts) == pytest.approx(1.0, rel=0.3)
