"""Limits of requests: policies, keys, headers and the 429 response."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit import ConfigError
from scalekit.host import Host
from scalekit.testing import request, running
from scalekit.testing.conformance import bare_application
from scalekit_ratelimit import limited
from tests.ratelimit.client import QUOTA_EXCEEDED, host, limit_items, policy

pytestmark = pytest.mark.anyio


class User:
    is_authenticated = True

    def __init__(self, identity: str) -> None:
        self.identity = identity


async def statuses(app: Host, state: dict[str, Any], number: int, target: str = "/", **more: Any) -> list[int]:
    return [(await request(app, target, state=state, **more)).status for _ in range(number)]


async def test_every_response_has_the_ratelimit_headers() -> None:
    app = host({"default": "100/15m"})
    async with running(app) as state:
        first = await request(app, "/", state=state)
    assert limit_items(first, "ratelimit-policy") == {"default": {"q": 100, "w": 900}}
    assert limit_items(first) == {"default": {"r": 99, "t": 9}}
    assert first.header("ratelimit-policy") == '"default";q=100;w=900'
    assert first.header("ratelimit") == '"default";r=99;t=9'
    assert first.header("x-ratelimit-limit") is None


async def test_a_request_over_a_limit_gets_429_with_problem_details_and_retry_after() -> None:
    app = host({"default": "2/15m", "legacy_headers": True})
    async with running(app) as state:
        assert await statuses(app, state, 2) == [200, 200]
        refused = await request(app, "/", state=state)
    assert refused.status == 429
    assert refused.header("content-type") == "application/problem+json"
    body = json.loads(refused.body)
    assert body["type"] == QUOTA_EXCEEDED
    assert body["violated-policies"] == ["default"]
    assert refused.header("retry-after") == "450"
    assert limit_items(refused) == {"default": {"r": 0, "t": 450}}
    assert limit_items(refused, "ratelimit-policy") == {"default": {"q": 2, "w": 900}}
    legacy = [refused.header(f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset")]
    assert legacy == ["2", "0", "450"]


async def test_the_strictest_policy_decides_and_a_refused_request_counts_in_no_other() -> None:
    policies = [policy("wide", "10/h"), policy("narrow", "2/h", path="/login", methods=["POST"])]
    app = host({"policies": policies})
    async with running(app) as state:
        assert await statuses(app, state, 5, "/login", method="POST") == [200, 200, 429, 429, 429]
        last = await request(app, "/login", method="POST", state=state)
        assert json.loads(last.body)["violated-policies"] == ["narrow"]
        assert limit_items(last)["wide"]["r"] == 8
        assert limit_items(await request(app, "/login", state=state))["wide"]["r"] == 7


async def test_several_limits_burst_and_cost_are_enforced_together() -> None:
    several = policy("several", ["3/h", "2/m"], path="/several")
    burst = policy("burst", "100/h", burst=2, path="/burst")
    cost = policy("cost", "10/h", cost=4, path="/cost")
    app = host({"policies": [several, burst, cost]})
    async with running(app) as state:
        assert await statuses(app, state, 3, "/several") == [200, 200, 429]
        items = limit_items(await request(app, "/several", state=state), "ratelimit-policy")
        assert items == {"several 3/1h": {"q": 3, "w": 3600}, "several 2/1m": {"q": 2, "w": 60}}
        assert await statuses(app, state, 3, "/burst") == [200, 200, 429]
        assert await statuses(app, state, 3, "/cost") == [200, 200, 429]


async def test_the_default_applies_when_no_policy_matches() -> None:
    app = host({"default": "1/h", "policies": [policy("search", "3/h", path="/search/*")]})
    async with running(app) as state:
        assert await statuses(app, state, 4, "/search/a") == [200, 200, 200, 429]
        assert await statuses(app, state, 2, "/other") == [200, 429]


async def test_the_default_applies_beside_a_dry_run_policy_and_not_beside_an_enforced_one() -> None:
    trial = policy("trial", "100/h", dry_run=True)
    for real, allowed in (([], 1), ([policy("real", "2/h")], 2)):
        app = host({"default": "1/h", "policies": [trial, *real]})
        async with running(app) as state:
            assert await statuses(app, state, 3) == [200] * allowed + [429] * (3 - allowed)


async def test_a_client_exempt_from_a_policy_is_not_limited_by_the_default() -> None:
    app = host({"default": "1/h", "policies": [policy("all", "1/h", exempt=["10.0.0.0/8"])]})
    async with running(app) as state:
        assert await statuses(app, state, 3, client=("10.0.0.1", 1)) == [200] * 3


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("203.0.113.1", "::ffff:203.0.113.1", "203.0.113.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
    ],
)
async def test_clients_are_limited_by_address_and_ipv6_clients_by_their_64_bit_network(
    one: str, same: str, other: str
) -> None:
    app = host({"default": "1/h"})
    async with running(app) as state:
        found = [(await request(app, "/", state=state, client=(each, 1))).status for each in (one, same, other)]
    assert found == [200, 429, 200]


async def test_a_forged_x_forwarded_for_header_does_not_change_the_key() -> None:
    for server in ({}, {"trusted_proxies": ["10.0.0.0/8"]}):
        app = host({"default": "2/h"}, server=server)
        async with running(app) as state:
            responses = []
            for number in range(6):
                forged = {"x-forwarded-for": f"198.51.100.{number}", "forwarded": f"for=198.51.100.{number}"}
                responses.append((await request(app, "/", state=state, headers=forged)).status)
            assert responses == [200, 200, 429, 429, 429, 429]


async def test_entries_that_a_client_forges_behind_a_trusted_proxy_do_not_change_the_key() -> None:
    app = host({"default": "2/h"}, server={"trusted_proxies": ["10.0.0.0/8"]})
    proxy = ("10.0.0.1", 1)
    async with running(app) as state:
        responses = []
        for number in range(4):
            forged = {"x-forwarded-for": f"198.51.100.{number}, 203.0.113.7"}
            responses.append((await request(app, "/", state=state, headers=forged, client=proxy)).status)
        assert responses == [200, 200, 429, 429]
        other = await request(app, "/", state=state, headers={"x-forwarded-for": "203.0.113.8"}, client=proxy)
        assert other.status == 200


async def test_keys_may_be_headers_and_combinations() -> None:
    app = host({"policies": [policy("keys", "1/h", key=["ip", "header:X-API-Key"])]})
    async with running(app) as state:
        first, second = {"x-api-key": "a"}, {"x-api-key": "b"}
        assert await statuses(app, state, 2, headers=first) == [200, 429]
        assert await statuses(app, state, 1, headers=second) == [200]
        assert await statuses(app, state, 1, headers=first, client=("203.0.113.1", 1)) == [200]
        assert await statuses(app, state, 2) == [200, 429]


def by_shop(scope: Scope) -> str | None:
    return None if scope["path"] == "/free" else scope["query_string"].decode()


async def test_a_key_may_be_a_function() -> None:
    app = host({"policies": [policy("shops", "1/h", key=f"{__name__}:by_shop")]})
    async with running(app) as state:
        assert await statuses(app, state, 2, "/?shop=1") == [200, 429]
        assert await statuses(app, state, 1, "/?shop=2") == [200]
        assert await statuses(app, state, 3, "/free") == [200, 200, 200]


async def test_networks_are_exempt() -> None:
    app = host({"policies": [policy("all", "1/h", exempt=["10.0.0.0/8", "2001:db8::/32"])]})
    async with running(app) as state:
        for address in ("10.1.2.3", "2001:db8::7"):
            assert await statuses(app, state, 3, client=(address, 1)) == [200, 200, 200]
        assert await statuses(app, state, 2) == [200, 429]


@pytest.mark.parametrize(
    ("prefix", "same", "other"),
    [
        (64, "2001:db8:0:ff00:ffff::9", "2001:db8:0:ff01::1"),
        (56, "2001:db8:0:ffff::9", "2001:db8:0:fe00::1"),
        (48, "2001:db8:0:1::9", "2001:db8:1::1"),
        (128, "2001:db8:0:ff00::1", "2001:db8:0:ff00::2"),
        (1, "::9", "8000::1"),
    ],
)
@pytest.mark.parametrize("key", ["ip", "subject", "header:X-API-Key"])
async def test_an_ipv6_client_is_identified_by_ipv6_prefix_bits(prefix: int, same: str, other: str, key: str) -> None:
    table: dict[str, Any] = {"ipv6_prefix": prefix, "policies": [policy("all", "1/h", key=key)]}
    for app in (host(table), host({**table, "policies": []}, decorated_by(key)), host({**table, "default": "1/h"})):
        async with running(app) as state:
            found = [await statuses(app, state, 1, client=(each, 1)) for each in ("2001:db8:0:ff00::1", same, other)]
            assert found == [[200], [429], [200]]
            mapped = [await statuses(app, state, 1, client=(each, 1)) for each in ("10.0.0.1", "::ffff:10.0.0.1")]
            assert mapped == [[200], [429]]


def decorated_by(key: str) -> ASGIApp:
    """Return an application whose one handler is decorated."""

    @limited("1/h", key=key)
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await bare_application(scope, receive, send)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (bare_application if scope["type"] == "lifespan" else handler)(scope, receive, send)

    return app


@pytest.mark.parametrize("prefix", [0, 129, -1, "64", 56.5, True])
def test_an_invalid_ipv6_prefix_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigError, match=r"plugins\.ratelimit\.ipv6_prefix"):
        host({"ipv6_prefix": prefix})


async def send_as(app: Host, user: str | None, state: Mapping[str, Any], kind: str = "http") -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": kind,
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "state": dict(state),
    }
    if kind == "websocket":
        del scope["method"]
        scope["extensions"] = {"websocket.http.response": {}}
    if user is not None:
        scope["user"] = User(user)
    await app(scope, receive, send)
    return sent


async def test_users_are_limited_and_exempted_by_subject_and_anonymous_requests_by_address() -> None:
    app = host({"policies": [policy("users", "1/h", key="subject", exempt=[{"issuer": "", "subject": "root"}])]})
    async with running(app) as state:
        found = [(await send_as(app, user, state))[0]["status"] for user in ("ada", "ada", "bob", None, None)]
        assert found == [200, 429, 200, 200, 429]
        assert [(await send_as(app, "root", state))[0]["status"] for _ in range(3)] == [200] * 3


async def test_a_dry_run_policy_only_logs_refusals(caplog: pytest.LogCaptureFixture) -> None:
    app = host({"policies": [policy("trial", "1/h", dry_run=True), policy("real", "3/h")]})
    with caplog.at_level("INFO", "scalekit.ratelimit"):
        async with running(app) as state:
            assert await statuses(app, state, 4) == [200, 200, 200, 429]
            assert "trial" not in limit_items(await request(app, "/", state=state))
    assert "policy trial would refuse GET '/'" in caplog.text


async def accept(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def test_websocket_handshakes_are_limited_with_the_same_response() -> None:
    app = host({"default": "1/h"}, accept)
    async with running(app) as state:
        (accepted,) = await send_as(app, None, state, "websocket")
        refused = await send_as(app, None, state, "websocket")
    assert accepted["type"] == "websocket.accept"
    assert dict(accepted["headers"])[b"ratelimit"] == b'"default";r=0;t=3600'
    assert refused[0]["type"] == "websocket.http.response.start"
    assert refused[0]["status"] == 429
    assert b"retry-after" in dict(refused[0]["headers"])


async def test_headers_are_not_stored_in_the_cache_and_cache_hits_are_counted() -> None:
    cache = {"policies": [{"path": "/**", "ttl": "1h"}]}
    app = host({"default": "3/h"}, cache=cache)
    async with running(app) as state:
        responses = [await request(app, "/x", state=state) for _ in range(4)]
    assert [response.status for response in responses] == [200, 200, 200, 429]
    assert "hit" in str(responses[1].header("cache-status"))
    assert [limit_items(response)["default"]["r"] for response in responses] == [2, 1, 0, 0]
    assert all([name for name, _ in response.headers].count(b"ratelimit") == 1 for response in responses)
