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
from tests.ratelimit.client import QUOTA_EXCEEDED, host, policy, standing

pytestmark = pytest.mark.anyio


class User:
    is_authenticated = True

    def __init__(self, identity: str) -> None:
        self.identity = identity


async def statuses(app: Host, state: dict[str, Any], number: int, target: str = "/", **more: Any) -> list[int]:
    return [(await request(app, target, state=state, **more)).status for _ in range(number)]


async def test_every_answer_tells_how_the_limits_stand() -> None:
    app = host({"default": "100/15m"})
    async with running(app) as state:
        first = await request(app, "/", state=state)
    assert standing(first, "ratelimit-policy") == {"default": {"q": 100, "w": 900}}
    assert standing(first) == {"default": {"r": 99, "t": 9}}
    assert first.header("ratelimit-policy") == '"default";q=100;w=900'
    assert first.header("ratelimit") == '"default";r=99;t=9'
    assert first.header("x-ratelimit-limit") is None


async def test_what_is_over_a_limit_is_a_problem_that_tells_when_to_come_again() -> None:
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
    assert standing(refused) == {"default": {"r": 0, "t": 450}}
    assert standing(refused, "ratelimit-policy") == {"default": {"q": 2, "w": 900}}
    legacy = [refused.header(f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset")]
    assert legacy == ["2", "0", "450"]


async def test_the_strictest_policy_answers_and_who_is_refused_takes_nothing_from_the_others() -> None:
    policies = [policy("wide", "10/h"), policy("narrow", "2/h", path="/login", methods=["POST"])]
    app = host({"policies": policies})
    async with running(app) as state:
        assert await statuses(app, state, 5, "/login", method="POST") == [200, 200, 429, 429, 429]
        last = await request(app, "/login", method="POST", state=state)
        assert json.loads(last.body)["violated-policies"] == ["narrow"]
        assert standing(last)["wide"]["r"] == 8
        assert standing(await request(app, "/login", state=state))["wide"]["r"] == 7


async def test_several_limits_hold_at_once_and_burst_and_cost_count() -> None:
    several = policy("several", ["3/h", "2/m"], path="/several")
    burst = policy("burst", "100/h", burst=2, path="/burst")
    cost = policy("cost", "10/h", cost=4, path="/cost")
    app = host({"policies": [several, burst, cost]})
    async with running(app) as state:
        assert await statuses(app, state, 3, "/several") == [200, 200, 429]
        told = standing(await request(app, "/several", state=state), "ratelimit-policy")
        assert told == {"several 3/1h": {"q": 3, "w": 3600}, "several 2/1m": {"q": 2, "w": 60}}
        assert await statuses(app, state, 3, "/burst") == [200, 200, 429]
        assert await statuses(app, state, 3, "/cost") == [200, 200, 429]


async def test_the_default_is_for_what_no_policy_is_for() -> None:
    app = host({"default": "1/h", "policies": [policy("search", "3/h", path="/search/*")]})
    async with running(app) as state:
        assert await statuses(app, state, 4, "/search/a") == [200, 200, 200, 429]
        assert await statuses(app, state, 2, "/other") == [200, 429]


async def test_a_policy_on_trial_leaves_the_default_in_force_and_a_real_one_beside_it_does_not() -> None:
    trial = policy("trial", "100/h", dry_run=True)
    for real, allowed in (([], 1), ([policy("real", "2/h")], 2)):
        app = host({"default": "1/h", "policies": [trial, *real]})
        async with running(app) as state:
            assert await statuses(app, state, 3) == [200] * allowed + [429] * (3 - allowed)


async def test_who_is_exempt_from_the_policy_of_a_path_is_not_counted_by_the_default() -> None:
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
async def test_addresses_are_counted_and_of_ipv6_the_64(one: str, same: str, other: str) -> None:
    app = host({"default": "1/h"})
    async with running(app) as state:
        asked = [(await request(app, "/", state=state, client=(each, 1))).status for each in (one, same, other)]
    assert asked == [200, 429, 200]


async def test_a_forged_forwarding_header_moves_no_limit() -> None:
    for server in ({}, {"trusted_proxies": ["10.0.0.0/8"]}):
        app = host({"default": "2/h"}, server=server)
        async with running(app) as state:
            answers = []
            for number in range(6):
                forged = {"x-forwarded-for": f"198.51.100.{number}", "forwarded": f"for=198.51.100.{number}"}
                answers.append((await request(app, "/", state=state, headers=forged)).status)
            assert answers == [200, 200, 429, 429, 429, 429]


async def test_behind_a_trusted_proxy_the_entries_that_the_client_invents_move_no_limit() -> None:
    app = host({"default": "2/h"}, server={"trusted_proxies": ["10.0.0.0/8"]})
    proxy = ("10.0.0.1", 1)
    async with running(app) as state:
        answers = []
        for number in range(4):
            forged = {"x-forwarded-for": f"198.51.100.{number}, 203.0.113.7"}
            answers.append((await request(app, "/", state=state, headers=forged, client=proxy)).status)
        assert answers == [200, 200, 429, 429]
        other = await request(app, "/", state=state, headers={"x-forwarded-for": "203.0.113.8"}, client=proxy)
        assert other.status == 200


async def test_headers_and_several_together_are_counted() -> None:
    app = host({"policies": [policy("keys", "1/h", by=["ip", "header:X-API-Key"])]})
    async with running(app) as state:
        first, second = {"x-api-key": "a"}, {"x-api-key": "b"}
        assert await statuses(app, state, 2, headers=first) == [200, 429]
        assert await statuses(app, state, 1, headers=second) == [200]
        assert await statuses(app, state, 1, headers=first, client=("203.0.113.1", 1)) == [200]
        assert await statuses(app, state, 2) == [200, 429]


def by_shop(scope: Scope) -> str | None:
    return None if scope["path"] == "/free" else scope["query_string"].decode()


async def test_a_function_says_who_is_counted() -> None:
    app = host({"policies": [policy("shops", "1/h", by=f"{__name__}:by_shop")]})
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
@pytest.mark.parametrize("by", ["ip", "subject", "header:X-API-Key"])
async def test_an_ipv6_client_is_counted_by_as_much_of_its_address_as_the_file_says(
    prefix: int, same: str, other: str, by: str
) -> None:
    table: dict[str, Any] = {"ipv6_prefix": prefix, "policies": [policy("all", "1/h", by=by)]}
    for app in (host(table), host({**table, "policies": []}, marked_by(by)), host({**table, "default": "1/h"})):
        async with running(app) as state:
            asked = [await statuses(app, state, 1, client=(each, 1)) for each in ("2001:db8:0:ff00::1", same, other)]
            assert asked == [[200], [429], [200]]
            mapped = [await statuses(app, state, 1, client=(each, 1)) for each in ("10.0.0.1", "::ffff:10.0.0.1")]
            assert mapped == [[200], [429]]


def marked_by(by: str) -> ASGIApp:
    """Return an application whose one handler is marked."""

    @limited("1/h", by=by)
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await bare_application(scope, receive, send)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (bare_application if scope["type"] == "lifespan" else handler)(scope, receive, send)

    return app


@pytest.mark.parametrize("prefix", [0, 129, -1, "64", 56.5, True])
def test_a_prefix_that_ipv6_has_not_is_refused(prefix: Any) -> None:
    with pytest.raises(ConfigError, match=r"plugins\.ratelimit\.ipv6_prefix"):
        host({"ipv6_prefix": prefix})


async def ask_as(app: Host, who: str | None, state: Mapping[str, Any], kind: str = "http") -> list[Message]:
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
    if who is not None:
        scope["user"] = User(who)
    await app(scope, receive, send)
    return sent


async def test_subjects_are_counted_and_exempt_and_who_shows_none_is_counted_by_address() -> None:
    app = host({"policies": [policy("users", "1/h", by="subject", exempt=[{"issuer": "", "subject": "root"}])]})
    async with running(app) as state:
        asked = [(await ask_as(app, who, state))[0]["status"] for who in ("ada", "ada", "bob", None, None)]
        assert asked == [200, 429, 200, 200, 429]
        assert [(await ask_as(app, "root", state))[0]["status"] for _ in range(3)] == [200] * 3


async def test_a_policy_on_trial_refuses_nothing_and_tells_the_log(caplog: pytest.LogCaptureFixture) -> None:
    app = host({"policies": [policy("trial", "1/h", dry_run=True), policy("real", "3/h")]})
    with caplog.at_level("INFO", "scalekit.ratelimit"):
        async with running(app) as state:
            assert await statuses(app, state, 4) == [200, 200, 200, 429]
            assert "trial" not in standing(await request(app, "/", state=state))
    assert "policy trial would refuse GET '/'" in caplog.text


async def accept(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def test_handshakes_of_websockets_count_and_are_refused_with_the_same_answer() -> None:
    app = host({"default": "1/h"}, accept)
    async with running(app) as state:
        (accepted,) = await ask_as(app, None, state, "websocket")
        refused = await ask_as(app, None, state, "websocket")
    assert accepted["type"] == "websocket.accept"
    assert dict(accepted["headers"])[b"ratelimit"] == b'"default";r=0;t=3600'
    assert refused[0]["type"] == "websocket.http.response.start"
    assert refused[0]["status"] == 429
    assert b"retry-after" in dict(refused[0]["headers"])


async def test_fields_are_not_kept_with_a_cached_answer_and_what_is_cached_counts() -> None:
    kept = {"policies": [{"path": "/**", "ttl": "1h"}]}
    app = host({"default": "3/h"}, cache=kept)
    async with running(app) as state:
        answers = [await request(app, "/x", state=state) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert "hit" in str(answers[1].header("cache-status"))
    assert [standing(answer)["default"]["r"] for answer in answers] == [2, 1, 0, 0]
    assert all([name for name, _ in answer.headers].count(b"ratelimit") == 1 for answer in answers)
