"""Limits in the memory of one process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit import Rate
from scalekit_ratelimit.limits import Algorithm, Hit, make_limit
from scalekit_ratelimit.memory_limiter import MemoryLimiter

STEPS = st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 2)), max_size=60)


class Clock:
    def __init__(self) -> None:
        self.now = 1

    def __call__(self) -> int:
        return self.now * 1000


@given(quota=st.integers(2, 7), burst=st.integers(2, 7), steps=STEPS)
def test_gcra_allows_the_burst_and_then_the_rate_and_no_more(
    quota: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    clock = Clock()
    memory = MemoryLimiter(10, clock)
    limit = make_limit("x", Rate(f"{quota}/10s"), min(burst, quota))
    passed: list[int] = []
    for pause, cost in steps:
        clock.now += pause
        (state,) = memory.hit([Hit(limit, "a", cost, False)])
        if state.allowed:
            passed += [clock.now] * cost
            for first in set(passed):
                within = sum(each >= first for each in passed)
                assert within <= limit.burst + (clock.now - first) // limit.emission_interval
        else:
            copy = MemoryLimiter(10, clock)
            copy._young, copy._old = dict(memory._young), dict(memory._old)
            clock.now += state.retry_after - 1
            assert not copy.hit([Hit(limit, "a", cost, False)])[0].allowed, "retry_after is too long"
            clock.now += 1
            assert copy.hit([Hit(limit, "a", cost, False)])[0].allowed, "retry_after is too short"
            clock.now -= state.retry_after


@given(quota=st.integers(2, 7), steps=STEPS)
def test_a_sliding_window_allows_exactly_the_quota_in_any_window(quota: int, steps: list[tuple[int, int]]) -> None:
    clock = Clock()
    memory = MemoryLimiter(10, clock)
    limit = make_limit("x", Rate(f"{quota}/10s"), None, "sliding-window")
    passed: list[int] = []
    for pause, cost in steps:
        clock.now += pause
        recent = sum(each > clock.now - limit.window for each in passed)
        (state,) = memory.hit([Hit(limit, "a", cost, False)])
        assert state.allowed == (recent + cost <= quota)
        assert state.remaining == quota - recent - (cost if state.allowed else 0)
        if state.allowed:
            passed += [clock.now] * cost


@pytest.mark.parametrize("algorithm", ["gcra", "sliding-window"])
def test_a_hit_refused_by_one_limit_is_counted_by_none(algorithm: Algorithm) -> None:
    memory = MemoryLimiter(10, Clock())
    narrow, wide = make_limit("narrow", Rate("1/h"), None, algorithm), make_limit("wide", Rate("5/h"), None, algorithm)
    hits = [Hit(narrow, "a", 1, False), Hit(wide, "a", 1, False)]
    assert [[state.allowed for state in memory.hit(hits)] for _ in range(3)] == [[True, True]] + [[False, True]] * 2
    assert memory.hit(hits)[1].remaining == 4


def test_the_table_is_bounded_and_active_keys_are_not_evicted() -> None:
    memory = MemoryLimiter(100, Clock())
    limit = make_limit("x", Rate("2/h"))
    assert memory.hit([Hit(limit, "attacker", 2, False)])[0].allowed
    for number in range(10_000):
        memory.hit([Hit(limit, str(number), 1, False)])
        assert len(memory) <= 101
    steady = make_limit("steady", Rate("1000/h"))
    for number in range(300):
        memory.hit([Hit(limit, f"other {number}", 1, False)])
        if number % 20 == 0:
            remaining = memory.hit([Hit(steady, "client", 1, False)])[0].remaining
            assert remaining == 999 - number // 20


@pytest.mark.parametrize("text", ["3/s", "7/m", "100/15m", "1000000/s", "999983/d"])
def test_the_default_burst_is_exactly_the_limit(text: str) -> None:
    limit = make_limit("x", Rate(text))
    memory = MemoryLimiter(10, Clock())
    assert memory.hit([Hit(limit, "a", limit.quota, False)])[0].allowed
    assert not memory.hit([Hit(limit, "a", 1, False)])[0].allowed
