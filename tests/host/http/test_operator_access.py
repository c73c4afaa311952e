from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from scalekit import Secret
from scalekit.http.operator_access import OperatorAccess
from scalekit.http.proxy_headers import RESOLVED_PORT
from tests.host.asgi import http_scope

LOOPBACK = (ip_network("127.0.0.1/32"), ip_network("::1/128"))


def admits(networks: Any = LOOPBACK, token: str | None = None, **scope: Any) -> bool:
    return OperatorAccess(networks, Secret(token) if token else None).admits(http_scope(**scope))


def test_no_client_is_an_operator_by_default() -> None:
    assert not admits(networks=())


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("127.0.0.2", False), ("x", False)],
)
def test_trusted_addresses_are_operators(address: str, expected: bool) -> None:
    assert admits(client=(address, 5000)) is expected


def test_a_client_without_an_address_is_not_an_operator() -> None:
    assert not admits(client=None)


@pytest.mark.parametrize(
    "header", [b"x-forwarded-for", b"forwarded", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"]
)
def test_behind_an_untrusted_proxy_no_client_is_local(header: bytes) -> None:
    assert not admits(headers=[(header, b"1.2.3.4")])
    assert admits(headers=[(header, b"1.2.3.4")], client=("127.0.0.1", RESOLVED_PORT)), "that one was worked out"


def test_the_token_authorizes_any_address() -> None:
    stranger = ("9.9.9.9", 1)
    for value in (b"Bearer t0k", b"bearer t0k", b"BEARER t0k"):
        assert admits(token="t0k", client=stranger, headers=[(b"authorization", value)])
    for value in (b"Bearer t0", b"Bearer T0K", b"t0k", b"Basic t0k", b"Bearer", b"Bearer t0k ", b""):
        assert not admits(token="t0k", client=stranger, headers=[(b"authorization", value)])
    twice = [(b"authorization", b"Bearer t0k")] * 2
    assert not admits(token="t0k", client=stranger, headers=twice)
    assert not admits(client=stranger, headers=[(b"authorization", b"Bearer None")])
