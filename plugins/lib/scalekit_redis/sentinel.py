"""Connections to the master that Sentinels name, and commands that follow it in a failover.

All connections to a former master are closed as soon as a Sentinel names another one, because the former master may
still run with stale data (split brain). Commands then have the outcome of a lost connection: those that only read are
sent to the new master, those that may have been executed fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from scalekit_redis.client_tracking import ClientTracking
from scalekit_redis.connector import Connector
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.node import Node
from scalekit_redis.pubsub import PubSub
from scalekit_redis.pubsub_listener import PubSubListener
from scalekit_redis.sentinels import MasterUnknownError, Sentinels
from scalekit_redis.standalone import StandaloneRouter
from scalekit_redis.url import HostPort, RedisUrl


class MasterConnector:
    """Connects to the master of *address* that *sentinels* name, which must have that role."""

    host: HostPort | None = None

    def __init__(self, address: RedisUrl, sentinels: Sentinels) -> None:
        self._address = address
        self._sentinels = sentinels
        self._errors = Connector(address, None)

    async def open(self) -> asyncio.Transport:
        """Return a connection to the present master.

        Raises MasterUnknownError when no Sentinel names it, and else as :meth:`Connector.open`.
        """
        while True:
            master = await self._sentinels.find_master()
            transport = await self._open(master)
            if transport is not None and self._sentinels.master == master:
                return transport
            if transport is not None:
                transport.abort()

    async def _open(self, master: HostPort) -> asyncio.Transport | None:
        """Return a connection to *master*, or None when it is replaced meanwhile."""
        loop = asyncio.get_running_loop()
        connector = Connector(self._address, master, required={"role": "master"})
        attempt = asyncio.timeout(None)

        def stop() -> None:
            if not attempt.expired():
                attempt.reschedule(loop.time())

        try:
            async with attempt:
                with self._sentinels.notify_master(stop):
                    return await connector.open()
        except TimeoutError:
            if not attempt.expired():
                raise
        return None

    def describe(self, error: BaseException) -> str:
        """Return in plain words, without secrets, why ``open`` failed."""
        return self._errors.describe(error)

    def is_transient(self, error: BaseException) -> bool:
        """Return whether *error* is the reply of a server that is still starting (such as LOADING)."""
        return self._errors.is_transient(error)

    def is_permanent(self, error: BaseException) -> bool:
        """Return whether *error* needs a change of the configuration."""
        return error.permanent if isinstance(error, MasterUnknownError) else self._errors.is_permanent(error)


class SentinelRouter(StandaloneRouter):
    """Sends every command to the master that *sentinels* name, over *node* and what *connect* opens."""

    def __init__(self, node: Node, connect: Callable[[], Node], sentinels: Sentinels) -> None:
        super().__init__(node, connect)
        self._sentinels = sentinels

    @asynccontextmanager
    async def tracking(
        self, prefixes: Sequence[bytes], listener: InvalidationListener, replicas: bool
    ) -> AsyncGenerator[ClientTracking, None]:
        """Report changed keys of the master to *listener* while inside; a failover is a loss of the connection."""
        async with super().tracking(prefixes, listener, replicas) as tracking:

            def follow() -> None:
                tracking.set_nodes({self._sentinels.master: self.node})

            with self._sentinels.notify_master(follow):
                yield tracking

    @asynccontextmanager
    async def pubsub(self, listener: PubSubListener) -> AsyncGenerator[PubSub, None]:
        """Pass the messages of subscribed channels to *listener* while inside, from the present master."""
        async with super().pubsub(listener) as pubsub:

            def follow() -> None:
                pubsub.set_nodes({self._sentinels.master: self.node})

            with self._sentinels.notify_master(follow):
                yield pubsub
