"""The cookie to which tokens are bound, on the addresses where it may be without `Secure`."""

from __future__ import annotations

import asyncio

import pytest

from scalekit import Finding, create_app
from scalekit.doctor.examination import examine
from scalekit.testing.conformance import bare_application

SECRET = "0123456789abcdef0123456789abcdef"


def findings(server: dict[str, object], **table: object) -> list[Finding]:
    tables = {"server": server, "plugins": {"jwt": {"secret": SECRET, **table}}}
    examination = asyncio.run(examine(create_app(tables, app=bare_application), 1))
    return [each.finding for each in examination.findings if each.finding.name == "insecure-cookie"]


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ({}, False),
        ({"host": "unix:/run/shop.sock"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"trusted_proxies": ["127.0.0.1"]}, True),
    ],
)
def test_an_insecure_cookie_is_found_where_other_machines_reach_the_service(
    server: dict[str, object], found: bool
) -> None:
    assert [each.key for each in findings(server, insecure_cookie=True)] == ["plugins.jwt.insecure_cookie"] * found
    assert findings(server) == []


def test_tokens_that_are_bound_to_a_key_have_no_cookie() -> None:
    assert findings({"host": "0.0.0.0"}, insecure_cookie=True, sender_constraint="dpop") == []
