"""Connect to what an address names."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from scalekit.errors import StartError
from scalekit.redis.address import Address
from scalekit.redis.client import Courier
from scalekit.redis.connecting import Connector
from scalekit.redis.metrics import Metrics
from scalekit.redis.node import Node
from scalekit.redis.single import Single


async def open_courier(address: Address, metrics: Metrics, stack: AsyncExitStack) -> Courier:
    """Return what carries commands to *address*, until *stack* is left; raises StartError when it is refused."""
    node = Node(str(address), Connector(address, address.hosts[0] if address.hosts else None), metrics, ignore)
    stack.push_async_callback(node.close)
    stack.enter_context(metrics.showing(lambda: node.in_flight, lambda: int(bool(node.trouble))))
    await node.attempted()
    if node.refused:
        raise StartError(f"{address} refuses: {node.trouble}")
    return Single(node)


def ignore(push: list[Any]) -> None:
    """Do nothing with what nobody listens to."""
