"""What is called when keys in Redis are changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InvalidationListener:
    """What is called, in the loop and at once: none of these may take long or raise.

    *begun*: from now on every change is told, and none before was. *invalidated*: these keys are others now, or gone.
    *lost*: changes are not told any more; all until the given moment, on the monotonic clock, have been. When a server
    is emptied, *lost* and *begun* follow upon each other.
    """

    begun: Callable[[], None]
    invalidated: Callable[[list[bytes]], None]
    lost: Callable[[float], None]
