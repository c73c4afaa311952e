from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from scalekit import ConfigError, create_app
from scalekit.health.external import probe
from scalekit.testing.conformance import bare_application
from tests.stream_server import stream_server

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def service(response: bytes, requests: list[bytes] | None = None) -> AsyncGenerator[str, None]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if requests is not None:
            requests.append(request)
        writer.write(response)
        writer.close()

    async with stream_server(serve) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found", "200"])
async def test_a_service_with_a_successful_response_is_healthy(status: str) -> None:
    async with service(f"HTTP/1.1 {status}\r\n\r\n".encode()) as url:
        await probe(url)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (b"HTTP/1.1 500 No\r\n\r\n", "responded with 500"),
        (b"HTTP/1.1 404 No\r\n\r\n", "responded with 404"),
        (b"SSH-2.0-OpenSSH\r\n", "the response is not HTTP"),
        (b"", "the response is not HTTP"),
    ],
)
async def test_a_service_with_another_response_is_unhealthy(response: bytes, message: str) -> None:
    async with service(response) as url:
        with pytest.raises(ConnectionError, match=message):
            await probe(url)


async def test_an_endless_line_is_not_read_to_its_end() -> None:
    async with service(b"HTTP/1.1 200 " + b"x" * 100_000) as url:
        with pytest.raises(ValueError, match="Separator is"):
            await probe(url)


async def test_the_request_is_for_the_address_without_its_password() -> None:
    requests: list[bytes] = []
    async with service(b"HTTP/1.1 200 OK\r\n\r\n", requests) as url:
        await probe(url.replace("//", "//user:hunter2@") + "/up?deep=1")
    assert requests[0].startswith(b"GET /up?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"hunter2" not in requests[0]


async def test_an_unreachable_service_is_unhealthy() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        await probe("http://127.0.0.1:1/")


def test_services_become_checks() -> None:
    app = create_app(
        {"health": {"external": {"a": "http://a/", "b": {"url": "https://b/", "critical": True, "timeout": "1s"}}}},
        app=bare_application,
    )
    checks = {name: result.check for name, result in app.monitor.results.items()}
    assert list(checks) == ["external.a", "external.b"]
    assert (checks["external.a"].critical, checks["external.a"].timeout) == (False, 2.0)
    assert (checks["external.b"].critical, checks["external.b"].timeout) == (True, 1.0)


@pytest.mark.parametrize("url", ["ftp://x", "localhost:80", ""])
def test_only_http_urls_are_accepted(url: str) -> None:
    with pytest.raises(ConfigError, match=r"health.external.a"):
        create_app({"health": {"external": {"a": url}}}, app=bare_application)
