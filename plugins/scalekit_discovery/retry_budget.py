"""A retry budget, which keeps retries from multiplying the load of a service that fails.

A token bucket like Finagle's RetryBudget: each call deposits a share of a token, each retry withdraws one. A minimum
rate of retries is free, for services with few calls.
"""

from __future__ import annotations

MIN_RETRIES_PER_SECOND = 10.0
BALANCE_SECONDS = 10.0
"""Maximum balance, as seconds of the minimum rate."""


class RetryBudget:
    """Allows retries for a *ratio* of the calls, and MIN_RETRIES_PER_SECOND besides."""

    def __init__(self, ratio: float, now: float) -> None:
        self._ratio = ratio
        self._balance = MIN_RETRIES_PER_SECOND * BALANCE_SECONDS if ratio else 0.0
        self._updated = now

    def deposit(self) -> None:
        """Add the share of one call."""
        self._balance += self._ratio

    def balance(self, now: float) -> float:
        """Return how many retries the budget allows at *now*."""
        if not self._ratio:
            return 0.0
        refilled = self._balance + (now - self._updated) * MIN_RETRIES_PER_SECOND
        return min(refilled, MIN_RETRIES_PER_SECOND * BALANCE_SECONDS)

    def withdraw(self, now: float) -> bool:
        """Withdraw one retry; return whether the budget allowed it."""
        if not self._ratio:
            return False
        self._balance = self.balance(now)
        self._updated = now
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
