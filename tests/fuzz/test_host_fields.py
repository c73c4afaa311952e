"""Header fields that the host parses: no input raises."""

from __future__ import annotations

import asyncio
import re
from ipaddress import ip_address, ip_network
from time import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.config.types import Secret
from scalekit.http.operator_access import OperatorAccess
from scalekit.http.proxy_headers import TrustedProxies, parse_address
from scalekit.http.request_context import deadline_from
from scalekit.http.trace_context import parse_trace_context
from scalekit_ratelimit.keys import address_key, header_key_func
from tests.fuzz.words import fuzzed, mixed, texts, values
from tests.host.asgi import behind

PROXIES = (ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("10.0.0.0/8"))
ADDRESSES = ("127.0.0.1", "10.0.0.1", "::1", "[::1]", "192.0.2.1", "::ffff:192.0.2.1", "fe80::1%eth0", ":8080")
SYNTAX = (",", ";", "=", '"', "\\", " ", "\t", "[", "]", ":", "unknown", "_hidden", "%", "for", "proto", "host", "by")
entries = values(*ADDRESSES, *SYNTAX, "For", "https", "http", "shop.example", "\xb2")
FORWARDING = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host")
forwarding = st.lists(st.tuples(st.sampled_from([*FORWARDING, b"host"]), entries), max_size=5)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Send no response."""


@given(
    forwarding, st.sampled_from(["127.0.0.1", "192.0.2.9", "", "unix", "::1"]), st.sampled_from(["http", "websocket"])
)
@fuzzed
def test_a_client_is_an_address_whatever_proxies_say(headers: list[tuple[bytes, bytes]], peer: str, kind: str) -> None:
    for dialect in ("auto", "forwarded", "x-forwarded"):
        client = (peer, 5000) if peer else None
        scope: dict[str, Any] = {"type": kind, "path": "/", "client": client, "scheme": "http", "headers": headers}
        asyncio.run(_serve(behind(app, TrustedProxies(PROXIES, dialect)), scope))
        found = scope["client"]
        assert found in (None, client) or ip_address(found[0])
        assert scope["scheme"] in ("http", "https", "ws", "wss")
        assert address_key(scope)
        assert header_key_func("x-forwarded-for")(scope)
        OperatorAccess(PROXIES, None).admits(scope)


async def _serve(served: ASGIApp, scope: Scope) -> None:
    await served(scope, _receive, _send)


async def _receive() -> Any:
    """Receive nothing."""


async def _send(message: Any) -> None:
    """Send nothing."""


@given(values(*ADDRESSES, *SYNTAX))
@fuzzed
def test_any_bytes_parse_to_an_address_or_none(text: bytes) -> None:
    found = parse_address(text)
    assert found is None or str(ip_address(found)) == found


HEX = "0123456789abcdef"
trace_id, span_id = (st.text(HEX, min_size=size, max_size=size) for size in (32, 16))
trace = st.tuples(trace_id, span_id, st.text(HEX, max_size=2))

traceparents = mixed([trace.map(lambda parts: "00-{}-{}-{}".format(*parts))], "00", "ff", "-", "0" * 32, "0" * 16, "01")
states = values("vendor=", "a@b=", "=", ",", " ", "\t", "x" * 257, "1")


@given(st.lists(st.tuples(st.just(b"x-request-id"), entries), max_size=2), traceparents, states)
@fuzzed
def test_a_request_has_an_identity(ids: list[tuple[bytes, bytes]], parent: bytes, state: bytes) -> None:
    identity = parse_trace_context([*ids, (b"traceparent", parent), (b"tracestate", state)])
    assert re.fullmatch(r"[A-Za-z0-9._~+/=:@-]{1,128}", identity.request_id)
    assert re.fullmatch(r"[0-9a-f]{32}", identity.trace_id)
    assert set(identity.trace_id) != {"0"}
    assert all(isinstance(value, str) and value.isprintable() for value in identity.headers().values())


@given(values("0", "1", "1000", "-", "+", "_", ".", "e", " ", "\xb2", "inf", "nan", "9" * 5000))
@fuzzed
def test_any_bytes_parse_to_a_bounded_deadline_or_none(value: bytes) -> None:
    found = deadline_from(value)
    assert found is None or time() - 60 <= found <= time() + 10**6


@given(values("Bearer ", "bearer", " ", "secret", "Basic", "\t", "é"))
@fuzzed
def test_an_operator_has_the_token_and_nothing_else(value: bytes) -> None:
    operators = OperatorAccess((), Secret("secret"))
    admitted = operators.admits({"headers": [(b"authorization", value)], "client": ("192.0.2.1", 1)})
    assert admitted == (value[:7].lower() == b"bearer " and value[7:] == b"secret")


@given(texts(*ADDRESSES, "%", "/", "\ud800"))
@fuzzed
def test_any_name_of_a_client_is_counted(name: str) -> None:
    assert address_key({"client": (name, 1)})
