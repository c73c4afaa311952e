from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from scalekit_replica.wal_position import LagEstimator

STEPS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 100)), min_size=1, max_size=40)


@given(STEPS, st.integers(0, 4000), st.integers(0, 20))
def test_the_lag_is_an_upper_bound(steps: list[tuple[int, int]], position: int, later: int) -> None:
    estimator = LagEstimator(1e9)
    history: list[tuple[int, int]] = []
    now = reached = 0
    for passed, written in steps:
        now, reached = now + passed, reached + written
        estimator.record(now, reached)
        history.append((now, reached))
    behind = estimator.lag(now + later, position)
    missing = [at for at, was in history if was > position]
    if not missing:
        assert behind == 0
    elif position < history[0][1]:
        assert behind == inf
    else:
        assert now + later - missing[0] <= behind  # it lacks a write of that moment or before
        assert behind <= now + later - history[0][0]


def test_the_lag_is_unknown_before_the_first_record() -> None:
    assert LagEstimator(10).lag(0, 100) == inf


def test_an_idle_primary_causes_no_lag() -> None:
    estimator = LagEstimator(10)
    for now in range(100):
        estimator.record(now, 5)
    assert estimator.lag(1000, 5) == 0
    estimator.record(100, 6)
    assert estimator.lag(100.5, 5) == 1.5


def test_another_primary_with_a_shorter_history_resets_the_estimate() -> None:
    estimator = LagEstimator(10)
    estimator.record(0, 100)
    estimator.record(1, 50)
    assert estimator.position == 50
    assert estimator.lag(2, 60) == 0
    assert estimator.lag(2, 40) == inf


@given(st.lists(st.integers(0, 5), max_size=500))
def test_recorded_positions_are_bounded(steps: list[int]) -> None:
    estimator = LagEstimator(10)
    position = 0
    for now, step in enumerate(steps):
        position += step
        estimator.record(now, position)
    assert len(estimator._samples) <= 12
