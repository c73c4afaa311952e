"""Which replica reads."""

from __future__ import annotations

from collections.abc import Sequence
from random import random
from time import time

from scalekit.contracts import Consistency
from scalekit_replica.metrics import Cause
from scalekit_replica.replay_waiter import Waiters
from scalekit_replica.replica import Replica


class Router:
    """Chooses among *replicas*."""

    def __init__(self, replicas: Sequence[Replica], waiters: Waiters) -> None:
        self._replicas = replicas
        self._waiters = waiters

    async def choose(self, consistency: Consistency | None) -> Replica | Cause:
        """Return a replica that has what *consistency* says, waited for if need be, or why it is the primary."""
        if consistency is None:
            return Cause.UNKNOWN
        if consistency.wrote or consistency.pending:
            return Cause.WROTE
        if consistency.until and consistency.until > time():
            return Cause.RECENT
        ready = [replica for replica in self._replicas if replica.is_ready()]
        if not ready:
            return Cause.NONE
        position = consistency.position
        able = [replica for replica in ready if replica.has(position)] if position else ready
        if able:
            return better(able)
        return await self._waiters.reached(position) or Cause.BEHIND


def better(replicas: Sequence[Replica]) -> Replica:
    """Return the better of two drawn by weight, the power of two choices.

    One that is drawn twice is taken however it does, so that each gets some reads and shows how it does now.
    """
    if len(replicas) == 1:
        return replicas[0]
    first, second = _draw(replicas), _draw(replicas)
    return first if first is second or first.score <= second.score else second


def _draw(replicas: Sequence[Replica]) -> Replica:
    point = random() * sum([replica.weight for replica in replicas])
    for replica in replicas:
        point -= replica.weight
        if point < 0:
            return replica
    return replicas[-1]
