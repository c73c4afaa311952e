"""Connect to the server, the cluster or the master of Sentinels that a URL names."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from scalekit import StartError
from scalekit_redis.client import CommandRouter
from scalekit_redis.cluster import ClusterRouter
from scalekit_redis.commands import Reply
from scalekit_redis.connector import Connector
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.node import Node, OnPush
from scalekit_redis.sentinel import MasterConnector, SentinelRouter
from scalekit_redis.sentinels import CHANNEL, Sentinels
from scalekit_redis.standalone import StandaloneRouter
from scalekit_redis.topology import Topology
from scalekit_redis.url import HostPort, RedisUrl, format_host


async def open_router(address: RedisUrl, metrics: RedisMetrics, stack: AsyncExitStack) -> CommandRouter:
    """Return the router of *address*, open until *stack* is closed; raises StartError when the server rejects it."""
    if address.cluster:
        return await _open_cluster(address, metrics, stack)
    if address.master:
        return await _open_sentinel(address, metrics, stack)
    return await _open_standalone(address, metrics, stack)


async def _open_standalone(address: RedisUrl, metrics: RedisMetrics, stack: AsyncExitStack) -> CommandRouter:
    connector = Connector(address, address.hosts[0] if address.hosts else None)

    def connect() -> Node:
        node = Node(str(address), connector, metrics, _ignore_push)
        stack.push_async_callback(node.close)
        return node

    return StandaloneRouter(await _first(connect, str(address), stack), connect)


async def _open_sentinel(address: RedisUrl, metrics: RedisMetrics, stack: AsyncExitStack) -> CommandRouter:
    def connect_sentinel(host: HostPort, on_push: OnPush) -> Node:
        name = f"{address.scheme}://{format_host(host)}"
        connector = Connector(address.sentinels, host, ("SUBSCRIBE", CHANNEL), {"mode": "sentinel"})
        return Node(name, connector, metrics.of_sentinel(name), on_push)

    def name() -> str:
        return f"{address} (master {format_host(sentinels.master)})" if sentinels.master else str(address)

    def connect() -> Node:
        node = Node(name(), MasterConnector(address, sentinels), metrics, _ignore_push)
        stack.push_async_callback(node.close)
        stack.enter_context(
            sentinels.notify_master(lambda: node.switch_server(name(), "Sentinel names another master"))
        )
        return node

    sentinels = Sentinels(address, connect_sentinel, metrics)
    stack.push_async_callback(sentinels.close)
    return SentinelRouter(await _first(connect, str(address), stack), connect, sentinels)


async def _first(connect: Callable[[], Node], address: str, stack: AsyncExitStack) -> Node:
    """Return the first connection after its first attempt to connect; raises StartError when it is rejected."""
    node = connect()
    stack.enter_context(node.metrics.export_gauges(lambda: node.in_flight, lambda: int(bool(node.unavailable_reason))))
    await node.first_attempt()
    if node.rejected:
        raise StartError(f"{address} rejects the connection: {node.unavailable_reason}")
    return node


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
