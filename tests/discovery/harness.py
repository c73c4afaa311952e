"""Services to call, and concurrent calls of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from scalekit import create_app
from scalekit.contracts import SERVICES, ServiceClient, Services
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_discovery.config import DiscoveryConfig
from tests.processes import wait_for
from tests.servers import Consul
from tests.service import Service

STOCK = """\
import asyncio
import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route

seen = []


async def stock(request):
    seen.append(request.method)
    status = 503 if Path("unready").exists() else 200
    return JSONResponse({"pid": os.getpid(), "headers": dict(request.headers)}, status)


async def slow(request):
    seen.append(request.method)
    await asyncio.sleep(float(request.query_params["seconds"]))
    return PlainTextResponse("at last")


async def breaking(request):
    async def body():
        yield b"begun"
        await asyncio.sleep(float(request.query_params["seconds"]))
        raise RuntimeError

    return StreamingResponse(body())


async def moved(request):
    return RedirectResponse(request.query_params["to"])


async def count(request):
    return PlainTextResponse(str(len(seen)))


routes = [Route("/stock", stock, methods=["GET", "POST", "PUT"]), Route("/count", count)]
app = Starlette(routes=[*routes, Route("/slow", slow), Route("/breaking", breaking), Route("/moved", moved)])
"""
DEFAULTS: Mapping[str, Any] = {"cache_dir": "", "attempt_timeout": "500ms"}


class StockService(Service):
    """A service that responds with its process id and the request headers."""

    def __init__(self, toml: str = "", **plugins: str) -> None:
        super().__init__(toml, {"service": STOCK}, plugins)

    @property
    def calls(self) -> int:
        return int(self.get("/count"))

    def turn_unready(self) -> None:
        self.box.write("unready", "")


def registered_toml(consul: Consul, server: str = "", more: str = "", service: str = "inventory") -> str:
    """Return the configuration of a service that registers as *service*."""
    where = f'source = "consul"\nconsul = "{consul.url}"\nservice = "{service}"\n'
    table = f'{where}check_interval = "2s"\ncheck_timeout = "2s"\ncache_dir = ""\n'
    return f'[server]\ndrain_delay = "1s"\n{server}\n[plugins.discovery]\n{table}{more}\n'


@asynccontextmanager
async def open_services(**table: Any) -> AsyncGenerator[Services, None]:
    """Return the service directory of an application with *table*."""
    app = create_app({"plugins": {"discovery": {**DEFAULTS, **table}}}, app=bare_application)
    async with running(app):
        yield app.context.get(SERVICES)


async def wait_instances(open_services: Services, count: int, name: str = "inventory") -> list[str]:
    """Wait until *name* has *count* instances, and return their URLs."""
    async with asyncio.timeout(60):
        async for instances in open_services.watch(name):
            if len(instances) == count:
                return sorted(each.url for each in instances)
    raise AssertionError("the watch ended")


async def wait_until(condition: Callable[[], Any]) -> None:
    """Wait in a thread until *condition*, which may block, is true."""
    await asyncio.to_thread(wait_for, "the condition", condition)


@dataclass
class CallLoad:
    """Concurrent calls, and their responses and errors."""

    client: ServiceClient
    statuses: dict[int, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    stopped: bool = False

    async def call(self) -> None:
        try:
            async with self.client.get("/stock") as response:
                pid = (await response.json())["pid"]
                self.pids.add(pid)
                self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.01)  # some calls fail at once

    async def _call_repeatedly(self) -> None:
        while not self.stopped:
            await self.call()

    @asynccontextmanager
    async def running(self, callers: int = 8) -> AsyncGenerator[CallLoad, None]:
        tasks = [asyncio.create_task(self._call_repeatedly()) for _ in range(callers)]
        try:
            yield self
        finally:
            self.stopped = True
            await asyncio.gather(*tasks)

    @property
    def total(self) -> int:
        return sum(self.statuses.values()) + len(self.errors)

    async def wait_calls(self, calls: int) -> None:
        """Wait until *calls* more calls have ended."""
        goal = self.total + calls
        async with asyncio.timeout(120):
            while self.total < goal:
                await asyncio.sleep(0.01)

    async def wait_for_pids(self, count: int) -> None:
        """Wait until *count* processes have responded."""
        async with asyncio.timeout(60):
            while len(self.pids) < count:
                await asyncio.sleep(0.01)


def config(**table: Any) -> DiscoveryConfig:
    return DiscoveryConfig.model_validate({**DEFAULTS, **table})
