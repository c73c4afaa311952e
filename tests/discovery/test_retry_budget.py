"""The retry budget's bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scalekit_discovery.retry_budget import BALANCE_SECONDS, MIN_RETRIES_PER_SECOND, RetryBudget


@given(st.lists(st.tuples(st.integers(0, 2000), st.floats(0, 5)), max_size=30), st.sampled_from([0.05, 0.1, 0.5]))
def test_retries_never_exceed_the_ratio_and_the_minimum_rate(rounds: list[tuple[int, float]], ratio: float) -> None:
    budget = RetryBudget(ratio, 0.0)
    calls, withdrawn, now = 0, 0, 0.0
    for count, pause in rounds:
        now += pause
        calls += count
        for _ in range(count):
            budget.deposit()
            withdrawn += budget.withdraw(now)
        assert withdrawn <= ratio * calls + MIN_RETRIES_PER_SECOND * (now + BALANCE_SECONDS) + 1


def test_a_ratio_of_zero_allows_no_retry() -> None:
    budget = RetryBudget(0.0, 0.0)
    budget.deposit()
    assert not budget.withdraw(100.0)
