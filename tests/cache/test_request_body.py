"""Responses to a GET with a body are private to that request."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from scalekit.testing import ReceivedResponse
from scalekit_cache import request as cache_request
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, collecting
from tests.processes import HOST
from tests.servers import Server, ask

HOURLY = [("/**", CachePolicy(ttl=3600.0))]
VERSIONS = ["1.1", "2", "3"]


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with the body of the request."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body or b"nothing"})


async def start_and_echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Start the response before reading the body of the request."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"started:", "more_body": True})
    message = await receive()
    await send({"type": "http.response.body", "body": message.get("body") or b"nothing"})


def receiving(*parts: bytes, gate: asyncio.Event | None = None) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        if gate is not None:
            await gate.wait()
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return receive


async def send_body(harness: CacheHarness, receive: Receive, version: str) -> bytes:
    response = ReceivedResponse()
    scope = harness.scope(http_version=version)
    await harness.chain(scope, receive, collecting(response))
    return response.body


@pytest.mark.anyio
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("parts", [(b"evil",), (b"", b"evil"), (b"", b"", b"ev", b"il")])
async def test_a_response_to_a_get_with_a_body_is_not_stored(version: str, parts: tuple[bytes, ...]) -> None:
    harness = CacheHarness(echo, HOURLY)
    assert await send_body(harness, receiving(*parts), version) == b"evil"
    first, response = [await harness.fetch(http_version=version) for _ in range(2)]
    assert first.body == response.body == b"nothing"
    assert "hit" in (response.header("cache-status") or "")


@pytest.mark.anyio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_response_to_a_get_with_a_body_is_not_shared(version: str) -> None:
    harness = CacheHarness(echo, HOURLY)
    gate = asyncio.Event()
    evil = asyncio.create_task(send_body(harness, receiving(b"evil", gate=gate), version))
    others = [asyncio.create_task(harness.fetch(http_version=version)) for _ in range(3)]
    for _ in range(20):
        await asyncio.sleep(0)
    gate.set()
    assert await evil == b"evil"
    assert [response.body for response in await asyncio.gather(*others)] == [b"nothing"] * 3


@pytest.mark.anyio
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_response_whose_handler_reads_a_body_late_is_not_stored(version: str) -> None:
    harness = CacheHarness(start_and_echo, HOURLY)
    assert await send_body(harness, receiving(b"evil"), version) == b"started:evil"
    assert (await harness.fetch(http_version=version)).body == b"started:nothing"
    assert harness.cache._flights == {}


@pytest.mark.anyio
async def test_a_slow_body_delays_no_other_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_request, "BODY_TIMEOUT", 0.01)
    harness = CacheHarness(echo, HOURLY)
    gate = asyncio.Event()
    evil = asyncio.create_task(send_body(harness, receiving(b"evil", gate=gate), "2"))
    assert (await harness.fetch(http_version="2")).body == b"nothing"
    gate.set()
    assert await evil == b"evil"


APPLICATION = """\
async def app(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body or b"nothing"})
"""
TOML = """\
[app]
target = "service:app"
[plugins.cache]
[[plugins.cache.policies]]
path = "/**"
ttl = "1h"
"""


class Http2(Server):
    """A server with HTTP/2, in which no header announces the body of a GET."""

    name = "http2"
    death_signal = signal.SIGTERM  # killed, some would leave their workers

    def __init__(self, server: str) -> None:
        self.server = server

    def prepare(self) -> None:
        self.box.write("service.py", APPLICATION)
        self.box.write("scalekit.toml", TOML)
        self.box.environment |= {"PYTHONPATH": str(self.box.directory), "PYTHONUNBUFFERED": "1"}

    def command(self) -> list[object]:
        options: dict[str, list[object]] = {
            "granian": ["--interface", "asgi", "--host", HOST, "--port", self.port, "--no-access-log"],
            "hypercorn": ["--bind", f"{HOST}:{self.port}"],
        }
        return [sys.executable, "-m", self.server, *options[self.server], "scalekit.asgi:app"]

    def is_ready(self) -> bool:
        return ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'


@pytest.fixture(scope="module", params=["granian", "hypercorn"])
def http2(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Http2(request.param) as running:
        yield running


def test_over_http2_a_response_to_a_body_is_not_shared(http2: Server) -> None:
    def body() -> Iterator[bytes]:  # without a length, unlike bytes
        yield b"evil"

    with httpx2.Client(base_url=f"http://{HOST}:{http2.port}", http1=False, http2=True, timeout=60) as client:
        assert client.request("GET", "/page", content=body()).text == "evil"
        plain = client.get("/page")
        assert (plain.text, plain.http_version) == ("nothing", "HTTP/2")
        assert "hit" in client.get("/page").headers["cache-status"]
        assert client.request("GET", "/other", content=b"evil").text == "evil"
        assert client.get("/other").text == "nothing"
