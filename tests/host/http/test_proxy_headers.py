from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from scalekit.config.field_types import Proxy
from scalekit.http.operator_access import OperatorAccess
from scalekit.http.proxy_headers import TrustedProxies, parse_address
from tests.host.asgi import behind

NETWORKS = tuple(ip_network(each) for each in ("10.0.0.0/8", "fd00::/8", "127.0.0.1/32"))
PROXIES: tuple[Proxy, ...] = (*NETWORKS, "unix")
Fields = list[tuple[str, str]]


def resolved(
    fields: Fields, peer: str | None = "10.0.0.1", forwarded: str = "auto", kind: str = "http"
) -> tuple[str | None, str, str]:
    """Return client, scheme and host as the application sees them."""
    seen = scope_of(fields, peer, forwarded, kind)
    client = seen["client"]
    host = next(value.decode() for name, value in seen["headers"] if name == b"host")
    return client[0] if client else None, seen["scheme"], host


def scope_of(fields: Fields, peer: str | None = "10.0.0.1", forwarded: str = "auto", kind: str = "http") -> Scope:
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)

    scope = {
        "type": kind,
        "path": "/",
        "scheme": "http" if kind == "http" else "ws",
        "client": (peer, 4711) if peer else None,
        "headers": [(b"host", b"here"), *((name.encode(), value.encode("latin-1")) for name, value in fields)],
    }
    asyncio.run(behind(app, TrustedProxies(PROXIES, forwarded))(scope, None, None))  # type: ignore[arg-type]
    return seen


def client(fields: Fields, **arguments: Any) -> str | None:
    return resolved(fields, **arguments)[0]


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.9.9.9", "1.2.3.4"),
        ("1.2.3.4, 10.1.1.1, 10.9.9.9", "1.2.3.4"),
        ("10.3.3.3, 10.1.1.1", "10.3.3.3"),
        (" 1.2.3.4 ", "1.2.3.4"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("fe80::1%eth0", "fe80::1"),
        ("1.2.3.4, ::ffff:10.0.0.7", "1.2.3.4"),
    ],
)
def test_the_rightmost_address_that_is_not_a_proxy_is_the_client(chain: str, expected: str) -> None:
    assert client([("x-forwarded-for", chain)]) == expected


def test_repeated_headers_are_one_list() -> None:
    assert (
        client([("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "10.0.0.9")])
        == "1.2.3.4"
    )


@pytest.mark.parametrize("peer", ["9.9.9.9", "2001:db8::9", "testclient", ""])
def test_headers_of_an_untrusted_peer_are_ignored(peer: str) -> None:
    fields = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4;proto=https"), ("x-forwarded-proto", "https")]
    fields.append(("x-forwarded-host", "evil"))
    assert resolved(fields, peer=peer or "9.9.9.9") == (peer or "9.9.9.9", "http", "here")


def test_a_client_of_a_unix_socket_is_a_trusted_proxy_only_with_the_word_unix() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope = {
        "type": "http",
        "scheme": "http",
        "client": None,
        "path": "/",
        "headers": [(b"x-forwarded-for", b"1.2.3.4")],
    }
    asyncio.run(behind(app, TrustedProxies(NETWORKS, "auto"))(dict(scope), None, None))  # type: ignore[arg-type]
    assert seen[0]["client"] is None
    assert client([("x-forwarded-for", "1.2.3.4")], peer=None) == "1.2.3.4"
    assert client([], peer=None) is None
    assert client([("x-forwarded-for", "unknown")], peer=None) is None


@pytest.mark.parametrize(
    ("header", "value", "admitted"),
    [
        ("x-forwarded-for", "10.3.3.3", True),
        ("x-forwarded-for", "10.3.3.3, 10.1.1.1", True),
        ("x-forwarded-for", "1.2.3.4", False),
        ("x-forwarded-for", "", False),
        ("x-forwarded-for", "unknown", False),
        ("x-forwarded-for", "unknown, 10.1.1.1", False),
        ("forwarded", "for=10.3.3.3", True),
        ("forwarded", "for=unknown", False),
        ("forwarded", 'for="_hidden"', False),
        ("forwarded", "proto=https", False),
    ],
)
def test_a_proxy_that_does_not_report_the_address_makes_no_client_an_operator(
    header: str, value: str, admitted: bool
) -> None:
    operators = OperatorAccess([ip_network("10.0.0.0/8")], None)
    assert operators.admits(scope_of([(header, value)])) is admitted


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("garbage", "10.0.0.1"),
        ("1.2.3.4, garbage", "10.0.0.1"),
        ("1.2.3.4, garbage, 10.2.2.2", "10.2.2.2"),
        ("1.2.3.4,,10.2.2.2", "10.2.2.2"),
        ("unknown", "10.0.0.1"),
        ("1.2.3.4.5", "10.0.0.1"),
        ("999.1.1.1", "10.0.0.1"),
        ("0x7f.1", "10.0.0.1"),
        ("1.2.3.4\x00", "10.0.0.1"),
        (",", "10.0.0.1"),
        ("<script>", "10.0.0.1"),
    ],
)
def test_an_entry_that_is_not_an_address_ends_the_walk_at_the_last_proxy(chain: str, expected: str) -> None:
    assert client([("x-forwarded-for", chain)]) == expected


def test_very_long_headers_are_walked_no_further_than_needed() -> None:
    assert client([("x-forwarded-for", "6.6.6.6, " * 100_000 + "1.2.3.4")]) == "1.2.3.4"
    assert client([("forwarded", 'for="[::1' * 50_000 + ", for=1.2.3.4")]) == "1.2.3.4"


@pytest.mark.parametrize("size", [600, 64_000])
def test_an_element_that_is_too_long_is_ignored(size: int) -> None:
    assert client([("forwarded", "for=1.2.3.4;x=" + "a" * 400)]) == "1.2.3.4"
    assert client([("forwarded", "for=1.2.3.4;x=" + "a" * size)]) == "10.0.0.1"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=1.2.3.4", ("1.2.3.4", "http", "here")),
        ("for=1.2.3.4;proto=https;host=shop.example", ("1.2.3.4", "https", "shop.example")),
        ('For="[2001:db8:cafe::17]:4711";Proto=HTTPS', ("2001:db8:cafe::17", "https", "here")),
        ("for=6.6.6.6, for=1.2.3.4;proto=https, for=10.0.0.5;proto=http", ("1.2.3.4", "https", "here")),
        ('for="1.2.3.4:80" ; by=10.0.0.1', ("1.2.3.4", "http", "here")),
        ('for="_hidden", for=10.0.0.5', ("10.0.0.5", "http", "here")),
        ("for=unknown", ("10.0.0.1", "http", "here")),
        ("proto=https", ("10.0.0.1", "https", "here")),
        ('for="1.2.3.4', ("10.0.0.1", "http", "here")),
        ('for="evil, for=1.2.3.4', ("1.2.3.4", "http", "here")),
        ("nonsense;;;==", ("10.0.0.1", "http", "here")),
        (";;for=1.2.3.4;;proto=https;", ("1.2.3.4", "https", "here")),
        ("by_x1=y;for=1.2.3.4", ("1.2.3.4", "http", "here")),
        ('host="x;for=6.6.6.6;y";for=1.2.3.4', ("1.2.3.4", "http", "here")),
        ('for=1.2.3.4;host="x;for=6.6.6.6;y"', ("1.2.3.4", "http", "here")),
    ],
)
def test_the_forwarded_header_is_walked_the_same_way(header: str, expected: tuple[str, str, str]) -> None:
    assert resolved([("forwarded", header)]) == expected


@pytest.mark.parametrize(
    ("forwarded", "expected"), [("auto", "1.1.1.1"), ("x-forwarded", "1.1.1.1"), ("forwarded", "2.2.2.2")]
)
def test_of_both_header_families_the_configured_one_is_used(forwarded: str, expected: str) -> None:
    assert client([("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")], forwarded=forwarded) == expected


@pytest.mark.parametrize(("forwarded", "name"), [("forwarded", "x-forwarded-for"), ("x-forwarded", "forwarded")])
def test_the_other_header_family_is_ignored(forwarded: str, name: str) -> None:
    assert client([(name, "for=6.6.6.6" if name == "forwarded" else "6.6.6.6")], forwarded=forwarded) == "10.0.0.1"


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [
        ("https", "https"),
        ("http", "http"),
        ("http, https", "https"),
        ("HTTPS", "https"),
        ("gopher", "http"),
        ("wss", "https"),
    ],
)
def test_the_scheme_is_the_one_of_the_clients_hop(proto: str, scheme: str) -> None:
    assert resolved([("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", proto)])[1] == scheme


def test_each_of_two_proxies_reports_its_own_scheme() -> None:
    fields = [("x-forwarded-for", "1.2.3.4, 10.0.0.7"), ("x-forwarded-proto", "https, http")]
    assert resolved(fields)[1] == "https"


def test_a_websocket_gets_a_websocket_scheme() -> None:
    fields = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")]
    assert resolved(fields, kind="websocket")[1] == "wss"


@pytest.mark.parametrize("host", ["shop.example", "shop.example:8443", "[2001:db8::1]:80", "localhost"])
def test_the_host_is_the_one_that_the_client_requested(host: str) -> None:
    assert resolved([("x-forwarded-for", "1.2.3.4"), ("x-forwarded-host", host)])[2] == host


@pytest.mark.parametrize("host", ["a b", "shop.example/x", "a@b", "<x>", "", "x" * 300, "a\r\nb"])
def test_an_invalid_host_is_ignored(host: str) -> None:
    assert resolved([("x-forwarded-for", "1.2.3.4"), ("x-forwarded-host", host)])[2] == "here"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("x-forwarded-proto", "https")], ("10.0.0.1", "https", "here")),
        ([("x-forwarded-host", "shop.example")], ("10.0.0.1", "http", "shop.example")),
        (
            [("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.example")],
            ("10.0.0.1", "https", "shop.example"),
        ),
        ([("x-forwarded-proto", "http, https")], ("10.0.0.1", "https", "here")),
        ([("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")], ("10.0.0.1", "https", "here")),
        ([("x-forwarded-host", "evil.example, shop.example")], ("10.0.0.1", "http", "shop.example")),
        ([("forwarded", "for=1.2.3.4"), ("x-forwarded-proto", "https")], ("1.2.3.4", "https", "here")),
        (
            [("forwarded", "for=1.2.3.4;proto=http"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "shop")],
            ("1.2.3.4", "http", "shop"),
        ),
        ([("forwarded", "proto=https;host=shop.example")], ("10.0.0.1", "https", "shop.example")),
    ],
)
def test_scheme_and_host_are_used_without_an_address(fields: Fields, expected: tuple[str, str, str]) -> None:
    assert resolved(fields) == expected
    assert resolved(fields, kind="websocket")[1] == {"http": "ws", "https": "wss"}[expected[1]]
    assert resolved(fields, peer="9.9.9.9") == ("9.9.9.9", "http", "here")
    assert resolved(fields, peer=None) == (None if expected[0] == "10.0.0.1" else expected[0], *expected[1:])


@pytest.mark.parametrize(
    ("forwarded", "fields"),
    [
        ("forwarded", [("x-forwarded-proto", "https"), ("x-forwarded-host", "evil")]),
        ("forwarded", [("x-forwarded-proto", "https"), ("forwarded", "for=10.0.0.1")]),
        ("x-forwarded", [("forwarded", "proto=https;host=evil")]),
    ],
)
def test_scheme_and_host_of_the_other_header_family_are_ignored(forwarded: str, fields: Fields) -> None:
    assert resolved(fields, forwarded=forwarded) == ("10.0.0.1", "http", "here")


HOSTILE = st.one_of(
    st.text(st.characters(codec="latin-1"), max_size=60),
    st.lists(
        st.sampled_from(["1.2.3.4", "10.0.0.9", "::1", "x", "", "for=1.1.1.1", '"', ";", "[", "%"]), max_size=12
    ).map(",".join),
)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_the_client_is_an_address_for_any_header(chain: str, forwarded: str, proto: str) -> None:
    fields = [("x-forwarded-for", chain), ("forwarded", forwarded), ("x-forwarded-proto", proto)]
    found, scheme, _ = resolved(fields)
    assert found is not None
    assert str(ip_address(found)) == found
    assert scheme in ("http", "https")


@given(HOSTILE)
def test_client_entries_do_not_change_the_entry_of_the_trusted_proxy(forged: str) -> None:
    assert client([("x-forwarded-for", f"{forged}, 1.2.3.4")]) == "1.2.3.4"
    assert client([("forwarded", f"{forged}, for=1.2.3.4")]) == "1.2.3.4"


def test_memoized_peers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scalekit.http.proxy_headers._CACHE_SIZE", 10)
    proxies = TrustedProxies(PROXIES, "auto")
    for number in range(100):
        proxies.trusts(f"1.2.3.{number}")
    assert len(proxies._trusted) <= 10
    assert proxies.trusts("10.1.2.3")


def test_an_address_is_normalized() -> None:
    assert parse_address(b"[2001:DB8::0:1]:80") == parse_address(b"2001:db8::1") == "2001:db8::1"
