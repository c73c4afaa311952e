"""Choose the replica for a read."""

from __future__ import annotations

from collections.abc import Sequence
from random import random
from time import time

from scalekit.contracts import Consistency
from scalekit_replica.metrics import FallbackReason
from scalekit_replica.replay_waiter import ReplayWaiter
from scalekit_replica.replica import Replica


class ReplicaRouter:
    """Chooses among *replicas*."""

    def __init__(self, replicas: Sequence[Replica], replay_waiter: ReplayWaiter) -> None:
        self._replicas = replicas
        self._replay_waiter = replay_waiter

    async def choose(
        self, consistency: Consistency | None, preferred: Replica | None = None
    ) -> Replica | FallbackReason:
        """Return a replica that has replayed the LSN of *consistency*, or why to use the primary; wait if needed.

        Return the *preferred* one when it has.
        """
        if consistency is None:
            return FallbackReason.UNKNOWN
        if consistency.wrote or consistency.pending:
            return FallbackReason.WROTE
        if consistency.until and consistency.until > time():
            return FallbackReason.RECENT_WRITE
        ready = [replica for replica in self._replicas if replica.is_ready()]
        if not ready:
            return FallbackReason.UNAVAILABLE
        position = consistency.position
        caught_up = [replica for replica in ready if replica.has_replayed(position)] if position else ready
        if preferred in caught_up:
            return preferred
        if caught_up:
            return pick_replica(caught_up)
        return await self._replay_waiter.wait_for(position) or FallbackReason.BEHIND


def pick_replica(replicas: Sequence[Replica]) -> Replica:
    """Return the better of two replicas drawn by weight (power of two choices).

    A replica that is drawn twice is chosen whatever its score, so that each serves some reads and its score stays
    current.
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
