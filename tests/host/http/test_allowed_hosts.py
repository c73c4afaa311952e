from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from scalekit import ConfigError, create_app
from scalekit.http.allowed_hosts import AllowedHosts
from scalekit.testing.conformance import bare_application
from tests.host.asgi import Conversation, behind, respond

pytestmark = pytest.mark.anyio


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send)


async def status(*hosts: bytes, allowed: tuple[str, ...] = ("shop.example", "localhost:8000", "[::1]")) -> int | None:
    client = Conversation()
    scope = {"type": "http", "path": "/", "headers": [(b"host", host) for host in hosts], "method": "GET"}
    await client.run(behind(hello, AllowedHosts(allowed)), scope)
    return client.status


@pytest.mark.parametrize("host", [b"shop.example", b"SHOP.example", b"shop.example:443", b"localhost:8000", b"[::1]:5"])
async def test_allowed_hosts_are_served(host: bytes) -> None:
    assert await status(host) == 200


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"localhost",
        b"localhost:8001",
        b"xshop.example",
        b"shop.example.evil",
        b"shop.example:443:443",
        b"shop.example:",
        b"shop.example:x",
        b"shop-example",
        b"shop.example@evil",
        b"",
    ],
)
async def test_hosts_that_are_not_exactly_allowed_are_rejected(host: bytes) -> None:
    assert await status(host) == 421


async def test_no_host_and_two_hosts_are_bad_requests() -> None:
    assert await status() == 400
    assert await status(b"shop.example", b"shop.example") == 400


async def test_an_international_name_is_compared_in_its_idna_form() -> None:
    assert await status("bücher.example".encode("idna"), allowed=("bücher.example",)) == 200


async def test_a_websocket_is_rejected_before_it_opens() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [(b"host", b"evil")]}
    await behind(hello, AllowedHosts(("here",)))(scope, None, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "this host is not served here"}]
    sent.clear()
    scope["extensions"] = {"websocket.http.response": {}}  # type: ignore[assignment]
    await behind(hello, AllowedHosts(("here",)))(scope, None, send)  # type: ignore[arg-type]
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 421


@pytest.mark.parametrize("host", ["*", "*.example", "http://x", "a/b", "a b", ""])
def test_patterns_of_hosts_are_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"server.allowed_hosts\[0\]"):
        create_app({"server": {"allowed_hosts": [host]}}, app=bare_application)
