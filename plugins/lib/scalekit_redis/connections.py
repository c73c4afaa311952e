"""The connections of one application: plugins that name the same address share one.

    async with redis_connections(context).open(url) as redis:
        await redis.get("key")

The first who opens an address connects, the last who leaves it disconnects.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from os.path import isfile

from scalekit import Context, Key, StartError
from scalekit.telemetry import TELEMETRY, Telemetry
from scalekit_redis.client import DEADLINE, CommandRouter, Redis
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.url import RedisUrl, parse


class Connections:
    """Opens connections, counted in *telemetry*; the client libraries are imported when the first is opened."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._shared: dict[RedisUrl, _Shared] = {}

    @asynccontextmanager
    async def open(
        self, url: str, *, deadline: float = DEADLINE, replica_reads: bool = False
    ) -> AsyncGenerator[Redis, None]:
        """Return Redis at *url*, open while inside; that it cannot be reached yet is no error.

        Raises ValueError when *url* is none, and StartError when the server answers and refuses, which does not pass by
        itself, or when the client libraries are not installed.
        """
        address = parse(url)
        shared = self._shared.get(address)
        if shared is None:
            shared = self._shared[address] = _Shared()
        shared.users += 1
        try:
            async with shared.lock:
                if shared.courier is None:
                    shared.courier = await self._open(address, shared.exit)
            yield Redis(shared.courier, deadline, replica_reads)
        finally:
            shared.users -= 1
            if not shared.users:
                del self._shared[address]
                await shared.exit.aclose()

    async def _open(self, address: RedisUrl, stack: AsyncExitStack) -> CommandRouter:
        try:
            from scalekit_redis import factory as opening
        except ImportError as error:
            raise StartError(f"{address} needs {error.name}: pip install 'scalekit-asgi[redis]'") from error
        return await opening.open_router(address, RedisMetrics(self._telemetry, str(address)), stack)


def verify_redis(url: str) -> None:
    """Raise ImportError when the client libraries are not there, and StartError when a file that *url* names is not."""
    importlib.import_module("scalekit_redis.factory")
    for name, file in parse(url).tls:
        if name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") and not isfile(file):
            raise StartError(f"{name}: there is no file {file}; put it there")


class _Shared:
    """A connection and how many use it."""

    def __init__(self) -> None:
        self.users = 0
        self.courier: CommandRouter | None = None
        self.lock = asyncio.Lock()
        self.exit = AsyncExitStack()


_CONNECTIONS: Key[Connections] = Key("redis connections")


def redis_connections(context: Context) -> Connections:
    """Return the connections of the application of *context*, which all plugins share."""
    return context.shared(_CONNECTIONS, lambda: Connections(context.get(TELEMETRY)))
