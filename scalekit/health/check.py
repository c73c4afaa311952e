"""A health check of a plugin, run periodically."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """A *probe* that returns when a dependency is healthy and raises when it is not.

    *timeout* is in seconds. A failed *critical* check makes the instance not ready; other checks only degrade it.
    """

    name: str
    probe: Callable[[], Awaitable[object]]
    critical: bool = True
    timeout: float = 2.0
