"""``Cache-Status`` has the outcome of a request, and why the response is not stored (RFC 9211)."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.authentication import SimpleUser

from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Pairs, Reply

pytestmark = pytest.mark.anyio

CC = "Cache-Control"
FRESH = (CC, "max-age=60")


@pytest.mark.parametrize(
    ("reply", "arguments", "detail"),
    [
        (Reply([FRESH]), {}, None),
        (Reply(), {}, "no-lifetime"),
        (Reply([(CC, "max-age=0")]), {}, "stale"),
        (Reply([(CC, "no-store")]), {}, "no-store"),
        (Reply([(CC, "private, max-age=60")]), {}, "private"),
        (Reply([(CC, "max-age=60, must-understand")], status=299), {}, "must-understand"),
        (Reply([FRESH, ("Set-Cookie", "a=b")]), {}, "set-cookie"),
        (Reply([FRESH, ("Vary", "*")]), {}, "vary"),
        (Reply([FRESH, ("Vary", ", ".join(f"X-{number}" for number in range(17)))]), {}, "vary"),
        (Reply([FRESH, ("Content-Range", "bytes 0-1/2")]), {}, "partial"),
        (Reply([FRESH], status=206), {}, "status"),
        (Reply([FRESH, ("Content-Length", "9999999")]), {}, "too-large"),
        (Reply([FRESH]), {"headers": [("Cookie", "a=b")]}, "cookie"),
        (Reply([FRESH]), {"headers": [("Authorization", "x")]}, "authorization"),
        (Reply([FRESH]), {"headers": [("X-API-Key", "x")]}, "credential-header"),
        (Reply([FRESH]), {"user": SimpleUser("ann")}, "user"),
        (Reply([FRESH]), {"method": "HEAD"}, "method"),
        (Reply([FRESH]), {"extensions": {"tls": {"client_cert_name": "CN=ann"}}}, "user-of-application"),
    ],
)
async def test_detail_is_the_reason_why_a_response_is_not_stored(
    reply: Reply, arguments: dict[str, Any], detail: str | None
) -> None:
    harness = CacheHarness(Origin(reply))
    status = (await harness.fetch(**arguments)).header("cache-status")
    assert status == f"scalekit; fwd=uri-miss; fwd-status={reply.status}" + (f"; detail={detail}" if detail else "")


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ([(CC, "no-store")], "request-no-store"),
        ([("Content-Length", "3")], "request-body"),
        ([("Transfer-Encoding", "chunked")], "request-body"),
        ([("If-Match", '"a"')], "if-match"),
        ([("Upgrade", "h2c")], "upgrade"),
    ],
)
async def test_detail_is_the_reason_why_a_request_bypasses_the_cache(headers: Pairs, detail: str) -> None:
    harness = CacheHarness(Origin(Reply([FRESH])))
    response = await harness.fetch(headers=headers)
    assert response.header("cache-status") == f"scalekit; fwd=bypass; detail={detail}"


async def test_another_credential_is_no_variant_miss() -> None:
    harness = CacheHarness(Origin(Reply([FRESH])))
    await harness.fetch()
    response = await harness.fetch(headers=[("Cookie", "a=b")])
    assert response.header("cache-status") == "scalekit; fwd=request; fwd-status=200; detail=cookie"


async def test_another_variant_is_a_variant_miss() -> None:
    harness = CacheHarness(Origin(Reply([FRESH, ("Vary", "X-Color")])))
    await harness.fetch(headers=[("X-Color", "red")])
    response = await harness.fetch(headers=[("X-Color", "blue")])
    assert (response.header("cache-status") or "").startswith("scalekit; fwd=vary-miss;")


async def test_cache_status_of_a_stale_response_has_the_outcome_of_its_revalidation() -> None:
    replies = [Reply([FRESH, ("ETag", '"1"')]), Reply([FRESH, ("ETag", '"1"')]), Reply(status=503)]
    harness = CacheHarness(Origin(*replies), [("/**", CachePolicy())])
    status = []
    for _ in range(3):
        status.append((await harness.fetch()).header("cache-status"))
        harness.pass_time(100)
    assert status[1:] == [
        "scalekit; hit; fwd=stale; fwd-status=304; stored",
        "scalekit; fwd=stale; fwd-status=503; detail=error",
    ]
