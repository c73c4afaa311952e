"""A health check of a plugin, run periodically."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """A probe that returns while things are well and raises when they are not.

    *timeout* is in seconds. When a *critical* check fails, the instance is not ready; another only degrades it.
    """

    name: str
    probe: Callable[[], Awaitable[object]]
    critical: bool = True
    timeout: float = 2.0
