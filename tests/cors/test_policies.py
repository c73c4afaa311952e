"""Which origins, methods and headers a policy allows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit_cors.policies import (
    ALLOW_ORIGIN,
    MAX_ORIGIN_LENGTH,
    MAX_ORIGINS,
    VARY_ORIGIN,
    Policy,
    Preflight,
    policies_of,
)
from tests.cors.configuration import read_config

SHOP = b"https://shop.example"


def policy(**table: Any) -> Policy:
    return policies_of(read_config(**{"origins": ["https://shop.example"], **table})).find("/")


def preflight(
    origin: bytes = SHOP, method: bytes = b"GET", headers: bytes = b"", *, private_network: bool = False
) -> Preflight:
    return Preflight(origin, method, headers, private_network)


@pytest.mark.parametrize(
    "origin",
    [
        b"https://shop.example.attacker.example",
        b"https://attacker-shop.example",
        b"http://shop.example",
        b"https://shop.example:8443",
        b"https://shop.example/",
        b"https://SHOP.example",
        b"https://a.shop.example",
        b"https://shopxexample",
        b"null",
        b"",
        b"\xff",
        b"https://shop.example\n",
    ],
)
def test_only_the_exact_origin_is_allowed(origin: bytes) -> None:
    assert policy().response_headers(origin) is None
    assert policy().decide_preflight(preflight(origin)).reason == f"origin {origin.decode('latin-1')} is not allowed"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"https://a.shop.example", True),
        (b"https://a.b.shop.example", True),
        (b"https://shop.example", False),
        (b"https://.shop.example", False),
        (b"https://attacker.example/.shop.example", False),
        (b"https://attacker.example#.shop.example", False),
        (b"https://attackershop.example", False),
        (b"https://a.shop.example.attacker.example", False),
        (b"https://a.shop.example:8443", False),
    ],
)
def test_a_wildcard_stands_for_subdomains(origin: bytes, *, allowed: bool) -> None:
    found = policy(origins=["https://*.shop.example"]).response_headers(origin)
    assert (found is not None and (ALLOW_ORIGIN, origin) in found) == allowed


EXACT = policy(credentials=True)


@given(st.binary(max_size=40), st.booleans())
def test_no_other_origin_is_ever_echoed(noise: bytes, before: bool) -> None:
    found = EXACT.response_headers(noise + SHOP if before else SHOP + noise)
    assert (found is not None) == (not noise)


def test_any_origin_gets_a_star_and_no_vary() -> None:
    open_to_all = policy(origins=["*"])
    headers = open_to_all.response_headers(b"null")
    assert headers is not None
    assert (ALLOW_ORIGIN, b"*") in headers
    assert open_to_all.vary == []
    assert VARY_ORIGIN not in headers


def test_the_headers_of_an_allowed_origin() -> None:
    headers = policy(credentials=True, expose=["X-Total"]).response_headers(SHOP)
    assert headers == [
        (b"access-control-allow-origin", SHOP),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"X-Total"),
        (b"vary", b"Origin"),
    ]


def test_few_and_short_allowed_origins_are_stored() -> None:
    wide = policy(origins=["https://*.shop.example"])
    for number in range(2 * MAX_ORIGINS + 10):
        wide.response_headers(b"https://%d.shop.example" % number)
    assert 0 < len(wide._stored) <= MAX_ORIGINS
    wide._stored.clear()
    assert wide.response_headers(b"https://" + b"a" * MAX_ORIGIN_LENGTH + b".shop.example") is not None
    assert wide.response_headers(b"https://other.example") is None
    assert not wide._stored


def test_a_policy_for_every_origin_stores_none() -> None:
    open_to_all = policy(origins=["*"])
    assert open_to_all.response_headers(b"https://a.example") is open_to_all.response_headers(b"https://b.example")
    assert not open_to_all._stored


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (preflight(method=b"DELETE"), ""),
        (preflight(method=b"delete"), "method delete is not allowed for pages of other origins"),
        (preflight(method=b"PURGE"), "method PURGE is not allowed for pages of other origins"),
        (preflight(headers=b"content-type,authorization"), ""),
        (preflight(headers=b"Content-Type, X-Secret , x-other"), "request header x-other, x-secret is not allowed"),
        (preflight(headers=b", ,"), ""),
        (preflight(private_network=True), "requests of public pages to this private network are not allowed"),
    ],
)
def test_a_preflight_is_rejected_with_a_reason(request_: Preflight, reason: str) -> None:
    found = policy().decide_preflight(request_)
    assert found.reason.startswith(reason)
    assert bool(found.reason) == bool(reason)
    assert (ALLOW_ORIGIN in dict(found.headers)) == (not reason)


def test_every_header_can_be_allowed() -> None:
    found = policy(headers=["*"]).decide_preflight(preflight(headers=b"x-anything,x-else"))
    assert dict(found.headers)[b"access-control-allow-headers"] == b"x-anything,x-else"


def test_a_private_network_can_be_opened() -> None:
    found = policy(private_network=True).decide_preflight(preflight(private_network=True))
    assert dict(found.headers)[b"access-control-allow-private-network"] == b"true"


def test_the_first_policy_that_matches_the_path_applies() -> None:
    policies = policies_of(
        read_config(
            origins=["https://shop.example"],
            policies=[
                {"path": "/public/**", "origins": ["*"]},
                {"path": "/**", "origins": ["https://admin.example"]},
            ],
        )
    )
    assert policies.find("/public/a").response_headers(b"https://any.example") is not None
    assert policies.find("/a").response_headers(SHOP) is None
    assert policies.find("/a").response_headers(b"https://admin.example") is not None
