"""Requests through an untrusted proxy log one warning."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from scalekit import create_app
from scalekit.host import Host
from scalekit.http import proxy_warning
from scalekit.http.proxy_warning import ProxyWarning
from tests.host.asgi import http_scope

Peer = tuple[str, int] | None
HINT = "server.trusted_proxies is empty"


def host(**server: Any) -> Host:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    return create_app({"server": server}, app=app)


def ask(host: Host, peer: Peer, *names: bytes) -> None:
    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        pass

    scope = http_scope(client=peer, headers=[(b"host", b"x"), *((name, b"https") for name in names)])
    asyncio.run(host(scope, receive, send))


@pytest.mark.parametrize(
    "name",
    [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"forwarded"],
)
@pytest.mark.parametrize(
    ("peer", "named"),
    [
        (("127.0.0.1", 5000), "127.0.0.1"),
        (("::1", 5000), "::1"),
        (("::ffff:10.1.2.3", 5000), "10.1.2.3"),
        (("10.1.2.3", 5000), "10.1.2.3"),
        (("172.17.0.1", 5000), "172.17.0.1"),
        (("192.168.1.1", 5000), "192.168.1.1"),
        (("100.64.0.1", 5000), "100.64.0.1"),
        (("fd00::1", 5000), "fd00::1"),
        (("fe80::1%eth0", 5000), "fe80::1"),
        (None, "unix"),
    ],
)
def test_forwarded_headers_from_a_private_address_log_one_warning_with_the_remedy(
    name: bytes, peer: Peer, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = host()
    ask(service, ("127.0.0.1", 4000))
    for _ in range(3):
        ask(service, peer, name)
    (record,) = [each for each in caplog.records if HINT in each.getMessage()]
    assert record.levelname == "WARNING"
    assert f"the header {name.decode()}" in record.getMessage()
    assert f'trusted_proxies = ["{named}"]' in record.getMessage()


@pytest.mark.parametrize("peer", [("8.8.8.8", 5000), ("2600::1", 5000), ("testclient", 5000)])
def test_forwarded_headers_from_a_public_address_log_no_warning(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    ask(host(), peer, b"x-forwarded-for")
    assert HINT not in caplog.text


@pytest.mark.parametrize("name", [b"x-forwardedness", b"x-real-name", b"x-request-id"])
def test_other_headers_log_no_warning(name: bytes, caplog: pytest.LogCaptureFixture) -> None:
    ask(host(), ("127.0.0.1", 5000), name)
    assert HINT not in caplog.text


def test_configured_proxies_log_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    ask(host(trusted_proxies=["10.0.0.0/8"]), ("127.0.0.1", 5000), b"x-forwarded-for")
    assert HINT not in caplog.text


def stands_before(host: Host) -> bool:
    return any(isinstance(each, ProxyWarning) for each in host.chain.filters)


def test_the_check_is_removed_after_a_warning_or_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_warning, "MAX_REQUESTS", 3)
    warned, silent = host(), host()
    ask(warned, ("127.0.0.1", 5000), b"x-forwarded-for")
    for _ in range(3):
        assert stands_before(silent)
        ask(silent, ("127.0.0.1", 5000))
    for each in (warned, silent):
        assert not stands_before(each)
