"""Contracts of read replicas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from scalekit.context import Key
from scalekit.contracts.consistency import Consistency
from scalekit.contracts.database import Database, Statements

T = TypeVar("T")


class ReadRoute(Protocol):
    """The reads of one session, which stay on one replica as long as it may serve them."""

    async def read(self, operation: Callable[[Database], Awaitable[T]], *, allow_stale: bool = False) -> T:
        """Return the result of *operation* on a replica that has replayed the client's writes, else on the primary.

        *operation* may be called again for another server after a failure. With *allow_stale* any replica that serves
        reads will do.
        """
        ...


class ReadRouter(Protocol):
    """Routes the reads of sessions to replicas."""

    def route(self) -> ReadRoute:
        """Return a new route, for one session."""
        ...


class ConsistencyTokens(Protocol):
    """Issues and reads signed consistency tokens, which clients, messages and calls propagate."""

    async def issue(self, consistency: Consistency) -> str:
        """Return the token of *consistency*, empty without a write; sets the position of its writes."""
        ...

    def read(self, token: str) -> Consistency | None:
        """Return the consistency in *token*, or None when it is invalid, or expired so that all replicas have it."""
        ...


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """The state of a replica in this process; *exclusion_reason* is empty while it serves reads.

    *lag* is an upper bound in seconds, infinite while it is unknown. *reads* is the number of reads that it has served.
    """

    name: str
    exclusion_reason: str
    lag: float
    lag_bytes: float
    reads: float


class Replicas(Protocol):
    """The replicas of the database, and the reads that they have served."""

    def states(self) -> Sequence[ReplicaState]:
        """Return the state of each replica."""
        ...

    def fallbacks(self) -> Mapping[str, float]:
        """Return the number of reads that the primary has served instead, by reason."""
        ...


READS: Key[Statements] = Key("reads", plugin="replica")
"""The database for reads: a replica that has replayed the client's writes, else the primary."""

READ_ROUTER: Key[ReadRouter] = Key("read router", plugin="replica")
"""Routes the reads of sessions; provided only with replicas."""

REPLICAS: Key[Replicas] = Key("replicas", plugin="replica")
"""Provided only with replicas."""

CONSISTENCY_TOKENS: Key[ConsistencyTokens] = Key("consistency tokens", plugin="replica")
"""Provided only with replicas."""
