"""Connect to the server or cluster that a URL names."""

from __future__ import annotations

from contextlib import AsyncExitStack

from scalekit import StartError
from scalekit_redis.client import CommandRouter
from scalekit_redis.cluster import ClusterRouter
from scalekit_redis.commands import Reply
from scalekit_redis.connector import Connector
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.node import Node
from scalekit_redis.standalone import StandaloneRouter
from scalekit_redis.topology import Topology
from scalekit_redis.url import HostPort, RedisUrl


async def open_router(address: RedisUrl, metrics: RedisMetrics, stack: AsyncExitStack) -> CommandRouter:
    """Return the router of *address*, open until *stack* is closed; raises StartError when the server rejects it."""
    return await (_open_cluster if address.cluster else _open_standalone)(address, metrics, stack)


async def _open_standalone(address: RedisUrl, metrics: RedisMetrics, stack: AsyncExitStack) -> CommandRouter:
    node = Node(str(address), Connector(address, address.hosts[0] if address.hosts else None), metrics, _ignore_push)
    stack.push_async_callback(node.close)
    stack.enter_context(metrics.export_gauges(lambda: node.in_flight, lambda: int(bool(node.unavailable_reason))))
    await node.first_attempt()
    if node.rejected:
        raise StartError(f"{address} rejects the connection: {node.unavailable_reason}")
    return StandaloneRouter(node)


async def _open_cluster(address: RedisUrl, metrics: RedisMetrics, stack: AsyncExitStack) -> CommandRouter:
    def connect(host: HostPort, replica: bool) -> Node:
        connector = Connector(address, host, ("READONLY",) if replica else ("PING",))
        return Node(f"{address.scheme}://{host[0]}:{host[1]}", connector, metrics, _ignore_push)

    topology = Topology(address.hosts, connect)
    stack.push_async_callback(topology.close)
    stack.enter_context(
        metrics.export_gauges(
            lambda: sum(node.in_flight for node in topology.nodes),
            lambda: sum(bool(node.unavailable_reason) for node in topology.nodes),
        )
    )
    await topology.open()
    if topology.rejection:
        raise StartError(
            f"{address} is no cluster: {topology.rejection}; the URL of a single server begins with redis://"
        )
    return ClusterRouter(str(address), topology)


def _ignore_push(push: list[Reply]) -> None:
    """Ignore a push message: these connections subscribe to nothing."""
