"""Contract of rate limits that the application counts itself."""

from __future__ import annotations

from typing import Protocol

from scalekit.context import Key


class Limits(Protocol):
    """The policies with ``key = "application"``, counted by keys that the application passes.

    A *key* is a string of any length; its digest is stored. Methods raise ValueError for an unknown *policy*, and
    Unavailable (503) when Redis is unavailable and ``on_error`` is ``refuse``.
    """

    async def hit(self, policy: str, key: str) -> None:
        """Count a hit; raises an HTTPException (429), and counts nothing, when the limit is exceeded.

        In every framework the response is problem+json with ``Retry-After`` and ``RateLimit``.
        """
        ...

    async def remaining(self, policy: str, key: str) -> int:
        """Return how many hits *key* has left, without counting one."""
        ...

    async def reset(self, policy: str, key: str) -> None:
        """Delete the counter of *key*; does nothing in the shared store while that is unavailable."""
        ...


LIMITS: Key[Limits] = Key("limits", plugin="ratelimit")
"""Rate limits that the application counts itself."""
