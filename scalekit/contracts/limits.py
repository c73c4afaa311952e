"""Limits that an application counts itself."""

from __future__ import annotations

from typing import Protocol

from scalekit.context import Key


class Limits(Protocol):
    """The policies of the file with ``by = "code"``, each counted by whatever keys an application gives.

    A key is a text of any length, of which a digest is kept. Raises ValueError for a *policy* that the file does not
    have, and Unavailable, a 503, where nothing can be counted and the file says to refuse.
    """

    async def hit(self, policy: str, key: str) -> None:
        """Count once; raises an HTTPException, a 429, when the limit is reached, which becomes the response.

        Nothing is counted then. Whatever a framework makes of the exception, the response is a problem with
        ``Retry-After`` and ``RateLimit``.
        """
        ...

    async def remaining(self, policy: str, key: str) -> int:
        """Return how often *key* may be counted now, without counting it."""
        ...

    async def reset(self, policy: str, key: str) -> None:
        """Forget what was counted for *key*, best effort: it raises nothing while Redis is unavailable."""
        ...


LIMITS: Key[Limits] = Key("limits", plugin="ratelimit")
"""Limits that an application counts itself."""
