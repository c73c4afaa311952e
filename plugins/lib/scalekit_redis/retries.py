"""Send commands again that the server did not execute, with backoff, until their deadline."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from scalekit_redis.pending import PendingCommand

C = TypeVar("C", bound=PendingCommand)

MIN_RETRY_DELAY, MAX_RETRY_DELAY = 0.01, 0.25
"""Seconds between two attempts: half of the time since the first, within these bounds."""
MAX_PENDING = 10_000
"""Maximum number of commands that wait for their next attempt."""


class RetryQueue:
    """The commands of one server or cluster that wait for their next attempt."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending = 0

    def schedule(self, command: C, send: Callable[[C], None]) -> bool:
        """Call *send* with *command* after a delay; return whether its deadline allows that."""
        now = monotonic()
        left = command.deadline - now
        if left <= MIN_RETRY_DELAY or self._pending >= MAX_PENDING:
            return False
        pause = max(MIN_RETRY_DELAY, min((now - command.started) / 2, MAX_RETRY_DELAY, left / 2))
        self._pending += 1
        self._loop.call_later(pause * random.uniform(0.7, 1.0), self._send, command, send)
        return True

    def _send(self, command: C, send: Callable[[C], None]) -> None:
        self._pending -= 1
        if not command.future.done():
            send(command)
