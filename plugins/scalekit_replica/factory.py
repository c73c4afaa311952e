"""Open the replicas of ``[plugins.replica]``, and assemble routing, lag monitoring and tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from scalekit import StartError
from scalekit.contracts import Database, Databases, ReplicaState
from scalekit.telemetry import Telemetry
from scalekit_replica.config import ReplicaConfig
from scalekit_replica.lag_monitor import LagLimits, LagMonitor
from scalekit_replica.metrics import ReplicaMetrics, RoutingMetrics
from scalekit_replica.replay_waiter import ReplayWaiter
from scalekit_replica.replica import Replica
from scalekit_replica.routed_reads import RoutedReads
from scalekit_replica.router import ReplicaRouter
from scalekit_replica.token_codec import TokenCodec
from scalekit_replica.token_issuer import TokenIssuer


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """The replicas of a database, with routed reads and the token issuer."""

    reads: RoutedReads
    tokens: TokenIssuer
    replicas: Sequence[Replica]
    metrics: RoutingMetrics

    def states(self) -> list[ReplicaState]:
        """Return the state of each replica."""
        return [replica.state() for replica in self.replicas]

    def fallbacks(self) -> dict[str, float]:
        """Return the number of reads that the primary has served, by reason."""
        return self.metrics.fallbacks()

    def check(self, name: str) -> None:
        """Raise ConnectionError, naming the reason, when the replica *name* serves no reads."""
        for replica in self.replicas:
            if replica.name == name and replica.exclusion_reason:
                raise ConnectionError(replica.exclusion_reason)


@asynccontextmanager
async def open_replicas(
    config: ReplicaConfig, primary: Database, databases: Databases, telemetry: Telemetry
) -> AsyncGenerator[ReplicaSet, None]:
    """Return *primary* with the replicas of *config*, whose lag is monitored while inside.

    An unreachable replica is no error. Raise StartError when one is a database of another kind than the primary.
    """
    metrics = RoutingMetrics(telemetry)
    async with AsyncExitStack() as stack:
        opened = [_open_replica(config, number, databases, telemetry) for number in range(len(config.urls))]
        replicas = [await stack.enter_async_context(each) for each in opened]
        _check_dialects(primary, replicas)
        limits = LagLimits(config.max_lag, config.max_lag_bytes, config.check_interval, config.check_timeout)
        replay_waiter = ReplayWaiter(replicas, config.replay_timeout, config.check_timeout, metrics)
        stack.push_async_callback(replay_waiter.stop)
        await stack.enter_async_context(LagMonitor(primary, replicas, limits).running())
        codec = TokenCodec(config.secret.get_secret_value() if config.secret else "")
        tokens = TokenIssuer(codec, primary, config.primary_after_write, config.token_ttl, metrics)
        yield ReplicaSet(
            RoutedReads(primary, ReplicaRouter(replicas, replay_waiter), metrics), tokens, replicas, metrics
        )


@asynccontextmanager
async def _open_replica(
    config: ReplicaConfig, number: int, databases: Databases, telemetry: Telemetry
) -> AsyncGenerator[Replica, None]:
    name, url = config.names[number], config.urls[number].reveal()
    weight = config.weights[number] if config.weights else 1.0
    async with (
        databases.open(url, name, read_only=True) as database,
        databases.open(url, f"{name} monitor", read_only=True) as monitor,
    ):
        metrics = ReplicaMetrics(telemetry, name)
        yield Replica(name, database, monitor, metrics, base_backoff=config.check_interval, weight=weight)


def _check_dialects(primary: Database, replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        dialect = replica.database.dialect
        if dialect != primary.dialect:
            raise StartError(
                f"replica {replica.name} is {dialect}, but the primary is {primary.dialect}; name a copy of it"
            )
