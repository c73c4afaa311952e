"""Callbacks for changed keys (client-side caching)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InvalidationListener:
    """Callbacks for changed keys. They run in the event loop and must be short and not raise.

    *on_start*: from now on every change is reported, and none before was. *on_invalidate*: these keys were changed,
    deleted or have expired. *on_lost*: changes are no longer reported; all before its argument, a time on the
    monotonic clock, have been. A FLUSHALL calls *on_lost* and then *on_start*.
    """

    on_start: Callable[[], None]
    on_invalidate: Callable[[list[bytes]], None]
    on_lost: Callable[[float], None]
