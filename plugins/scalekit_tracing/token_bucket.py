"""Limit the rate of events of this process."""

from __future__ import annotations

from time import monotonic


class TokenBucket:
    """Admits *rate* events per second, and as many at once."""

    __slots__ = ("_at", "_capacity", "_left", "_rate")

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._capacity = max(rate, 1.0)
        self._left = self._capacity
        self._at = monotonic()

    def take(self) -> bool:
        """Return whether one more event is admitted."""
        now = monotonic()
        self._left = min(self._capacity, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
