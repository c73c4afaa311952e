"""Request headers that identify the user separate responses."""

from __future__ import annotations

import pytest

from scalekit_cache.credentials import (
    CREDENTIAL_HEADERS,
    MAX_CACHED_NAMES,
    MAX_NAME_LENGTH,
    HeaderRoles,
)
from scalekit_cache.policies import CachePolicy
from tests.cache.harness import CacheHarness, Origin, Reply

pytestmark = pytest.mark.anyio
CC = "Cache-Control"
HOURLY = CachePolicy(ttl=3600.0)
NAMES = [
    "Proxy-Authorization",
    "X-API-Key",
    "Api-Key",
    "ApiKey",
    "X_API_Key",
    "X-Auth-Token",
    "X-Access-Token",
    "X-CSRF-Token",
    "X-CSRFToken",
    "X-XSRF-Token",
    "X-Token",
    "X-User",
    "X-User-Id",
    "X-Forwarded-User",
    "X-Remote-User",
    "Remote-User",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-Request-Access-Token",
    "X-Amzn-Oidc-Data",
    "X-Amzn-Oidc-Identity",
    "X-Amzn-Oidc-AccessToken",
    "Cf-Access-Jwt-Assertion",
    "X-Goog-IAP-JWT-Assertion",
    "X-Goog-Authenticated-User-Email",
    "X-MS-CLIENT-PRINCIPAL",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-Client-Cert",
    "X-MS-TOKEN-AAD-ID-TOKEN",
    "X-SSL-Client-S-DN",
    "X-ARR-ClientCert",
    "X-Forwarded-Client-Cert",
    "X-Amz-Security-Token",
    "X-Session-Id",
    "X-Shop-Secret-Key",
    "Private-Token",
    "X-Shopify-Access-Token",
    "X-Tenant-Id",
    "X-Consumer-Username",
]
COMMON = [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "User-Agent",
    "Referer",
    "Origin",
    "DNT",
    "Sec-Fetch-Mode",
    "Sec-CH-UA",
    "Priority",
    "Pragma",
    "X-Requested-With",
    "X-Request-ID",
    "X-Forwarded-For",
    "X-Real-IP",
    "Via",
    "Traceparent",
    "Tracestate",
    "Baggage",
    "X-Amzn-Trace-Id",
    "X-B3-TraceId",
    "CF-Ray",
    "CF-Connecting-IP",
    "CF-IPCountry",
    "True-Client-IP",
    "CDN-Loop",
    "Upgrade-Insecure-Requests",
    "Save-Data",
    "From",
    "TE",
    "X-Request-Timeout-Ms",
    "X-User-Agent",
    "Keep-Alive",
    "Connection",
]


async def test_common_headers_of_browsers_and_proxies_are_no_credentials() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", HOURLY)])
    for name in COMMON:
        await harness.fetch(headers=[(name, name)])
    assert origin.calls == 1


async def test_the_cached_roles_of_headers_are_bounded() -> None:
    meanings = HeaderRoles([b"host"], ["X-*"])
    assert [meanings[name] is None for name in (b"host", b"x-a", b"y", b"y" * (MAX_NAME_LENGTH + 1))] == [
        False,
        False,
        True,
        False,
    ]
    for number in range(2 * MAX_CACHED_NAMES):
        assert meanings[b"y-%d" % number] is None
        assert len(meanings) <= MAX_CACHED_NAMES
    assert meanings[b"host"] is not None


@pytest.mark.parametrize(("policy", "calls"), [(HOURLY, 3), (CachePolicy(ttl=3600.0, by_identity=True), 2)])
async def test_a_header_in_credential_headers_is_a_credential(policy: CachePolicy, calls: int) -> None:
    for name in [*(pattern.replace("*", "Any") for pattern in CREDENTIAL_HEADERS), *NAMES]:
        harness = CacheHarness(origin := Origin(Reply()), [("/**", policy)])
        await harness.fetch()
        await harness.fetch(headers=[(name, "alice")])
        await harness.fetch(headers=[(name, "alice")])
        assert (name, origin.calls) == (name, calls)
        assert (await harness.fetch()).body == b"1"


@pytest.mark.parametrize(
    ("reply", "policy", "calls"),
    [
        (Reply([(CC, "public, max-age=60")]), CachePolicy(), 1),
        (Reply([(CC, "max-age=60"), ("Vary", "X-Api-Key")]), CachePolicy(), 2),
        (Reply(), CachePolicy(ttl=60.0, vary=(b"x-api-key",)), 2),
        (Reply([(CC, "max-age=60"), ("Vary", "X-Other")]), CachePolicy(), 4),
    ],
)
async def test_a_response_to_a_credential_header_is_shared_as_its_directives_allow(
    reply: Reply, policy: CachePolicy, calls: int
) -> None:
    harness = CacheHarness(origin := Origin(reply), [("/**", policy)])
    for key in "aabb":
        await harness.fetch(headers=[("X-API-Key", key)])
    assert origin.calls == calls


async def test_configured_credential_headers_replace_the_default() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", HOURLY)], credential_headers=("X-Weird",))
    for headers in ([("X-Weird", "a")], [("X-Weird", "b")], [("X_Weird", "b")], [], [("X-API-Key", "a")]):
        await harness.fetch(headers=headers)
    assert origin.calls == 4, "the last two share"
