"""How many calls may be attempted anew, so that retries never become the load.

A token bucket as in Finagle's RetryBudget: each call pays in its share, each retry takes one out, and a few a second
are free so that a quiet service has some.
"""

from __future__ import annotations

FREE_PER_SECOND = 10.0
SECONDS = 10.0


class RetryBudget:
    """Retries for a *share* of calls, and ten a second besides."""

    def __init__(self, share: float, now: float) -> None:
        self._share = share
        self._balance = FREE_PER_SECOND * SECONDS if share else 0.0
        self._at = now

    def pay_in(self) -> None:
        """Note a call."""
        self._balance += self._share

    def take(self, now: float) -> bool:
        """Take out one retry; tell whether there was one."""
        if not self._share:
            return False
        self._balance += (now - self._at) * FREE_PER_SECOND
        self._balance = min(self._balance, FREE_PER_SECOND * SECONDS)
        self._at = now
        if self._balance < 1.0:
            return False
        self._balance -= 1.0
        return True
