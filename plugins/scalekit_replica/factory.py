"""Open the replicas of a table, and put together what reads from them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from scalekit import StartError
from scalekit.contracts import Database, Databases
from scalekit.telemetry import Telemetry
from scalekit_replica.config import ReplicaConfig
from scalekit_replica.lag_monitor import Checks, Limits
from scalekit_replica.metrics import Metrics, ReplicaMetrics
from scalekit_replica.replay_waiter import Waiters
from scalekit_replica.replica import Replica
from scalekit_replica.routed_reads import RoutedReads
from scalekit_replica.router import Router
from scalekit_replica.token_codec import Signer
from scalekit_replica.token_issuer import Tokens


@dataclass(frozen=True, slots=True)
class Replicated:
    """A database with replicas."""

    reads: RoutedReads
    tokens: Tokens
    replicas: Sequence[Replica]

    def refuse_trouble(self, name: str) -> None:
        """Raise ConnectionError saying why the replica *name* is not read from, where it is not."""
        for replica in self.replicas:
            if replica.name == name and replica.trouble:
                raise ConnectionError(replica.trouble)


@asynccontextmanager
async def replicated(
    config: ReplicaConfig, primary: Database, databases: Databases, telemetry: Telemetry
) -> AsyncGenerator[Replicated, None]:
    """Return *primary* with the replicas of *config*, looked at while inside.

    That a replica cannot be reached is no error. Raises StartError when it is another kind of database.
    """
    metrics = Metrics(telemetry)
    async with AsyncExitStack() as stack:
        places = range(len(config.urls))
        replicas = [await _open(stack, place, config, primary, databases, telemetry) for place in places]
        limits = Limits(config.max_lag, config.max_lag_bytes, config.check_interval, config.check_timeout)
        waiters = Waiters(replicas, config.wait, config.check_timeout, metrics)
        stack.push_async_callback(waiters.stop)
        await stack.enter_async_context(Checks(primary, replicas, limits).running())
        signer = Signer(config.secret.get_secret_value() if config.secret else "")
        tokens = Tokens(signer, primary, config.sticky, config.lifetime, metrics)
        yield Replicated(RoutedReads(primary, Router(replicas, waiters), metrics), tokens, replicas)


async def _open(
    stack: AsyncExitStack,
    place: int,
    config: ReplicaConfig,
    primary: Database,
    databases: Databases,
    telemetry: Telemetry,
) -> Replica:
    name, url = config.names[place], config.urls[place].reveal()
    database = await stack.enter_async_context(databases.open(url, name, read_only=True))
    watch = await stack.enter_async_context(databases.open(url, f"{name} watch", read_only=True))
    if database.dialect != primary.dialect:
        raise StartError(f"replica {name} is {database.dialect}, the database is {primary.dialect}; name copies of it")
    weight = config.weights[place] if config.weights else 1.0
    return Replica(name, database, watch, ReplicaMetrics(telemetry, name), config.check_interval, weight)
