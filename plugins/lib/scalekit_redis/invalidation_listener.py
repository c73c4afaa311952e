"""Callbacks for changed keys (client-side caching)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InvalidationListener:
    """Callbacks for changed keys. They run in the event loop and must be short and not raise.

    *on_start()*: changes are reported from now on; earlier ones may have been missed. *on_invalidate(keys)*: *keys*
    were changed, deleted or have expired. *on_lost(until)*: reporting has stopped; all changes before *until*
    (monotonic clock, seconds) were reported. A FLUSHALL calls *on_lost* and then *on_start*.
    """

    on_start: Callable[[], None]
    on_invalidate: Callable[[list[bytes]], None]
    on_lost: Callable[[float], None]
