"""Commands that a server did not run are sent again after a pause, while their deadlines allow it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from scalekit_redis.pending import PendingCommand

C = TypeVar("C", bound=PendingCommand)

FIRST_PAUSE, LAST_PAUSE = 0.01, 0.25
"""Seconds between two attempts: half of the time that has passed since the first, within these."""
MOST_PENDING = 10_000
"""Commands that may wait for their next attempt at one time."""


class RetryQueue:
    """The commands of one server or cluster that wait for their next attempt."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending = 0

    def later(self, call: C, send: Callable[[C], None]) -> bool:
        """Let *send* have *call* after a pause; return whether its deadline allows that."""
        now = monotonic()
        left = call.at - now
        if left <= FIRST_PAUSE or self._pending >= MOST_PENDING:
            return False
        pause = max(FIRST_PAUSE, min((now - call.began) / 2, LAST_PAUSE, left / 2))
        self._pending += 1
        self._loop.call_later(pause * random.uniform(0.7, 1.0), self._send, call, send)
        return True

    def _send(self, call: C, send: Callable[[C], None]) -> None:
        self._pending -= 1
        if not call.future.done():
            send(call)
