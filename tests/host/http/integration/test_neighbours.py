"""A filter behaves the same next to any middleware and under any server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from scalekit import create_app
from scalekit.host import ChainLink, Host, build_chain
from scalekit.runner.server.protocol import HttpProtocol
from scalekit.runner.server.request_head_cache import RequestHeadCache
from scalekit.testing import running
from tests.clients import redis_reply
from tests.host.http.requests import Outcome, Response, outcome_of
from tests.host.http.shop import TOML, app
from tests.host.runner.server.raw_client import LIMITS, serving
from tests.processes import HOST
from tests.servers import Redis

pytestmark = pytest.mark.anyio


class Passing:
    """Third-party middleware that changes nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Apart(Passing):
    """Third-party middleware that serves in a task of its own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.ensure_future(super().__call__(scope, receive, send))
        try:
            await task
        except asyncio.CancelledError:
            task.cancel()
            raise


def file_in(folder: Path, store: str) -> Path:
    """Write the file of a shop that logs into *folder*, and return its path."""
    folder.mkdir()
    file = folder / "scalekit.toml"
    file.write_text(TOML.format(store=store).replace('"logs"', f'"{folder}"'))
    return file


def separate(host: Host, kind: Any) -> None:
    """Insert a middleware of *kind* between every two filters of *host*."""
    between = ChainLink("LOG", "test", Middleware(kind))
    links = [link for pair in pairwise(host.links) for link in (pair[0], between)]
    host.chain = build_chain([*links, host.links[-1]], host.target, host.templates)


@asynccontextmanager
async def served(folder: Path, store: str, between: Any, at_once: bool) -> AsyncGenerator[int, None]:
    """Serve the shop, with or without local responses from the connection; yield the port."""
    host = create_app(file_in(folder, store), app=app)
    if between is not None:
        separate(host, between)

    def connection(config: Any, state: ServerState, app_state: dict[str, Any]) -> HttpToolsProtocol:
        config.ws_ping_interval = None
        if at_once:
            return HttpProtocol(
                LIMITS, host, RequestHeadCache(), config=config, server_state=state, app_state=lifespan_state
            )
        return HttpToolsProtocol(config, state, lifespan_state)

    async with running(host) as lifespan_state, serving(host, connection) as wire:
        yield wire.port


async def outcome(folder: Path, store: str, between: Any, at_once: bool) -> Outcome:
    async with served(folder, store, between, at_once) as port:
        return await asyncio.to_thread(outcome_of, port, folder / "combined.log")


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as running:
        yield running


FORMS = (("uvicorn", None, False), ("apart", Passing, True), ("tasks", Apart, False))
"""Name, middleware between every two filters, and whether the connection sends local responses."""


def comparable(responses: list[Response]) -> list[Response]:
    """Return *responses*; of the host's 500 without the headers of filters behind the first middleware."""
    return [
        (name, status, [each for each in headers if status != 500 or not each[0].startswith("ratelimit")], body)
        for name, status, headers, body in responses
    ]


def agree(found: Outcome, expected: Outcome) -> None:
    assert comparable(found.responses) == comparable(expected.responses)
    assert found.lines == expected.lines
    assert found.metrics == expected.metrics


async def test_with_stores_in_memory(tmp_path: Path) -> None:
    expected = await outcome(tmp_path / "together", "memory:", None, True)
    for name, between, at_once in FORMS:
        agree(await outcome(tmp_path / name, "memory:", between, at_once), expected)


@pytest.mark.needs("redis")
async def test_with_stores_on_redis(tmp_path: Path, redis: Redis) -> None:
    store = f"redis://{HOST}:{redis.port}"
    expected = await outcome(tmp_path / "together", store, None, True)
    for name, between, at_once in FORMS:
        redis_reply(redis.port, "FLUSHALL")
        agree(await outcome(tmp_path / name, store, between, at_once), expected)
