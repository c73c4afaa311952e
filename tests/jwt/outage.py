"""Session store servers that fail and recover, and clients that retry meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from scalekit.testing import ReceivedResponse
from scalekit_jwt.plugin import COMPONENTS
from tests.jwt.harness import JwtClient, service
from tests.servers import Postgres, Redis

NO_GRACE = {"rotation_grace": "0s"}


@dataclass
class SessionStoreServer:
    """A session store server and the configuration that selects it."""

    server: Postgres | Redis
    plugins: Mapping[str, Any]

    async def fail(self, fault: str) -> None:
        await asyncio.to_thread(self.server.kill if fault == "kill" else self.server.pause)

    async def recover(self) -> None:
        await asyncio.to_thread(self.server.resume if self.server.process.poll() is None else self.server.start)


def replica_is_online(primary: Redis) -> bool:
    return "state=online" in primary.cli("INFO", "replication")


def on_postgres(server: Postgres) -> SessionStoreServer:
    pool = {"url": server.url, "acquire_timeout": "500ms", "connect_timeout": "500ms"}
    return SessionStoreServer(server, {"pool": pool})


def on_redis(server: Redis) -> SessionStoreServer:
    return SessionStoreServer(server, {"jwt": {"session_store": "redis", "redis_url": server.url}})


@asynccontextmanager
async def clients_of(store: SessionStoreServer, *names: str, **table: Any) -> AsyncGenerator[list[JwtClient], None]:
    """Yield clients of one service that are logged in as *names*."""
    async with service({**NO_GRACE, **table}, store.plugins) as client:
        clients = [client.new_client() for _ in names]
        for each, name in zip(clients, names, strict=True):
            await log_in(each, name)
        yield clients


async def log_in(client: JwtClient, name: str) -> None:
    """Log in, retrying while a new replica does not acknowledge in time."""
    client.store_tokens(await until(lambda: client.send("/login", "POST", {"subject": name}), 200))


async def until(request: Callable[[], Awaitable[ReceivedResponse]], status: int) -> ReceivedResponse:
    while (response := await request()).status != status:
        assert response.status == 503, response
        await asyncio.sleep(0.02)
    return response


def last_error(client: JwtClient) -> str:
    message: str = client.app.context.get(COMPONENTS).poller.last_error
    return message
