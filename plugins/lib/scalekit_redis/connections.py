"""The Redis connections of one application: plugins with equal URLs share one.

    async with redis_connections(context).open(url) as redis:
        await redis.get("key")

The first plugin that opens a URL connects, the last that closes it disconnects.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from os.path import isfile

from scalekit import Context, Key, StartError
from scalekit.telemetry import TELEMETRY, Telemetry
from scalekit_redis.client import DEFAULT_TIMEOUT, CommandRouter, Redis
from scalekit_redis.metrics import RedisMetrics
from scalekit_redis.url import RedisUrl, parse_url


class Connections:
    """Opens connections, with metrics in *telemetry*; the client libraries are imported when the first is opened."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._shared: dict[RedisUrl, _Shared] = {}

    @asynccontextmanager
    async def open(
        self, url: str, *, timeout: float = DEFAULT_TIMEOUT, replica_reads: bool = False
    ) -> AsyncGenerator[Redis, None]:
        """Return a client of the Redis at *url*, open while inside; a server that is unavailable at first is no error.

        Raises ValueError when *url* is invalid, and StartError when the server rejects the connection for good (such as
        a wrong password) or the client libraries are not installed.
        """
        address = parse_url(url)
        shared = self._shared.get(address)
        if shared is None:
            shared = self._shared[address] = _Shared()
        shared.users += 1
        try:
            async with shared.lock:
                if shared.router is None:
                    shared.router = await self._open(address, shared.exit)
            yield Redis(shared.router, timeout, replica_reads)
        finally:
            shared.users -= 1
            if not shared.users:
                del self._shared[address]
                await shared.exit.aclose()

    async def _open(self, address: RedisUrl, stack: AsyncExitStack) -> CommandRouter:
        try:
            from scalekit_redis.factory import open_router
        except ImportError as error:
            raise StartError(f"{address} needs {error.name}: pip install 'scalekit-asgi[redis]'") from error
        return await open_router(address, RedisMetrics(self._telemetry, str(address)), stack)


def verify_redis(url: str) -> None:
    """Raise ImportError when hiredis is missing, and StartError when a TLS file of *url* does not exist."""
    importlib.import_module("scalekit_redis.factory")
    for name, file in parse_url(url).tls:
        if name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") and not isfile(file):
            raise StartError(f"{name}: {file} does not exist; create it or correct the path")


class _Shared:
    """A router and the number of its users."""

    def __init__(self) -> None:
        self.users = 0
        self.router: CommandRouter | None = None
        self.lock = asyncio.Lock()
        self.exit = AsyncExitStack()


_CONNECTIONS: Key[Connections] = Key("redis connections")


def redis_connections(context: Context) -> Connections:
    """Return the connections of the application of *context*, which all plugins share."""
    return context.shared(_CONNECTIONS, lambda: Connections(context.get(TELEMETRY)))
