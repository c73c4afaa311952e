"""Services that are called, and load on them."""

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
DEFAULTS: Mapping[str, Any] = {"keep": "", "attempt_timeout": "500ms"}


class Stock(Service):
    """A service that answers with its process id, and the headers that it was sent."""

    def __init__(self, toml: str = "", **plugins: str) -> None:
        super().__init__(toml, {"service": STOCK}, plugins)

    @property
    def calls(self) -> int:
        return int(self.get("/count"))

    def turn_unready(self) -> None:
        self.box.write("unready", "")


def registered(consul: Consul, server: str = "", more: str = "", service: str = "inventory") -> str:
    """Return the file of a service that registers as *service*."""
    where = f'source = "consul"\nconsul = "{consul.url}"\nservice = "{service}"\n'
    table = f'{where}check_interval = "2s"\ncheck_timeout = "2s"\nkeep = ""\n'
    return f'[server]\ndrain = "1s"\n{server}\n[plugins.discovery]\n{table}{more}\n'


@asynccontextmanager
async def services(**table: Any) -> AsyncGenerator[Services, None]:
    """Return the services that a plugin of this *table* finds."""
    app = create_app({"plugins": {"discovery": {**DEFAULTS, **table}}}, app=bare_application)
    async with running(app):
        yield app.context.get(SERVICES)


async def found(services: Services, count: int, name: str = "inventory") -> list[str]:
    """Wait until *name* has so many instances, and return their addresses."""
    async with asyncio.timeout(60):
        async for instances in services.watch(name):
            if len(instances) == count:
                return sorted(each.url for each in instances)
    raise AssertionError("a watch ended by itself")


async def until(condition: Callable[[], Any]) -> None:
    """Wait in a thread until *condition*, which may block, holds."""
    await asyncio.to_thread(wait_for, "the condition", condition)


@dataclass
class Load:
    """Calls that go on and on, and how they went."""

    client: ServiceClient
    answers: dict[int, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    over: bool = False

    async def call(self) -> None:
        try:
            async with self.client.get("/stock") as answer:
                pid = (await answer.json())["pid"]
                self.pids.add(pid)
                self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.01)  # some fail at once

    async def _go_on(self) -> None:
        while not self.over:
            await self.call()

    @asynccontextmanager
    async def running(self, callers: int = 8) -> AsyncGenerator[Load, None]:
        tasks = [asyncio.create_task(self._go_on()) for _ in range(callers)]
        try:
            yield self
        finally:
            self.over = True
            await asyncio.gather(*tasks)

    @property
    def total(self) -> int:
        return sum(self.answers.values()) + len(self.errors)

    async def go_on_for(self, calls: int) -> None:
        """Wait until so many more calls have come to an end."""
        goal = self.total + calls
        async with asyncio.timeout(120):
            while self.total < goal:
                await asyncio.sleep(0.01)

    async def wait_for_pids(self, count: int) -> None:
        """Wait until so many processes have answered."""
        async with asyncio.timeout(60):
            while len(self.pids) < count:
                await asyncio.sleep(0.01)


def config(**table: Any) -> DiscoveryConfig:
    return DiscoveryConfig.model_validate({**DEFAULTS, **table})
