"""Connect to what an address names."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from scalekit import StartError
from scalekit_redis.client import CommandRouter
from scalekit_redis.cluster import ClusterRouter
from scalekit_redis.connector import Connector
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.node import Node
from scalekit_redis.standalone import StandaloneRouter
from scalekit_redis.topology import Topology
from scalekit_redis.url import Host, RedisUrl


async def open_router(address: RedisUrl, metrics: RedisMetrics, stack: AsyncExitStack) -> CommandRouter:
    """Return what carries commands to *address*, until *stack* is left; raises StartError when it is refused."""
    return await (_open_cluster if address.cluster else _open_single)(address, metrics, stack)


async def _open_single(address: RedisUrl, metrics: RedisMetrics, stack: AsyncExitStack) -> CommandRouter:
    node = Node(str(address), Connector(address, address.hosts[0] if address.hosts else None), metrics, _ignore)
    stack.push_async_callback(node.close)
    stack.enter_context(metrics.showing(lambda: node.in_flight, lambda: int(bool(node.trouble))))
    await node.attempted()
    if node.refused:
        raise StartError(f"{address} refuses: {node.trouble}")
    return StandaloneRouter(node)


async def _open_cluster(address: RedisUrl, metrics: RedisMetrics, stack: AsyncExitStack) -> CommandRouter:
    def make(host: Host, replica: bool) -> Node:
        connector = Connector(address, host, ("READONLY",) if replica else ("PING",))
        return Node(f"{address.scheme}://{host[0]}:{host[1]}", connector, metrics, _ignore)

    topology = Topology(address.hosts, make)
    stack.push_async_callback(topology.close)
    stack.enter_context(
        metrics.showing(
            lambda: sum(node.in_flight for node in topology.nodes),
            lambda: sum(bool(node.trouble) for node in topology.nodes),
        )
    )
    await topology.open()
    if topology.refusal:
        raise StartError(f"{address} refuses: {topology.refusal}; one server is named redis://, without -cluster")
    return ClusterRouter(str(address), topology)


def _ignore(push: list[Any]) -> None:
    """Do nothing with what nobody listens to."""
