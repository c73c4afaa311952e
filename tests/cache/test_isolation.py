"""No response for one user reaches another."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.authentication import AuthCredentials, BaseUser, SimpleUser, UnauthenticatedUser
from starlette.types import Receive, Scope, Send

from scalekit.contracts import SubjectIdentifier
from scalekit.testing import TestResponse
from scalekit_cache.keys import REWRITING
from scalekit_cache.policies import CachePolicy
from scalekit_caching.items import digest
from tests.cache.conftest import Shared, sharing
from tests.cache.harness import CacheHarness, Origin, Pairs, Reply, collecting, empty_body

pytestmark = pytest.mark.anyio

CC = "Cache-Control"


@pytest.mark.parametrize("credential", ["Authorization", "Cookie"])
@pytest.mark.parametrize(
    ("headers", "policy", "calls"),
    [
        ([(CC, "max-age=60")], CachePolicy(), 2),
        ([(CC, "max-age=60, must-revalidate")], CachePolicy(), 2),
        ([], CachePolicy(ttl=60.0), 2),
        ([(CC, "public, max-age=60")], CachePolicy(), 1),
        ([(CC, "s-maxage=60")], CachePolicy(), 1),
        ([(CC, "s-maxage=60, private")], CachePolicy(), 2),
        ([("CDN-Cache-Control", "public, max-age=60")], CachePolicy(), 1),
        ([("ScaleKit-Cache-Control", "public, max-age=60"), (CC, "private")], CachePolicy(), 1),
        ([("ScaleKit-Cache-Control", "private"), (CC, "public, max-age=60")], CachePolicy(), 2),
        ([(CC, "public, max-age=60"), ("CDN-Cache-Control", "max-age=60")], CachePolicy(), 2),
        ([(CC, "public, max-age=60"), ("Set-Cookie", "a=b")], CachePolicy(), 2),
        ([], CachePolicy(ttl=60.0, by_identity=True), 1),
        ([(CC, "max-age=60"), ("Vary", "Authorization, Cookie")], CachePolicy(), 1),
        ([], CachePolicy(ttl=60.0, vary=(b"authorization", b"cookie")), 1),
        ([], CachePolicy(ttl=60.0, vary=(b"accept-language",)), 2),
    ],
)
async def test_a_response_to_somebody_is_stored_only_where_it_is_said_for_whom(
    credential: str, headers: Pairs, policy: CachePolicy, calls: int
) -> None:
    harness = CacheHarness(origin := Origin(Reply(headers)), [("/**", policy)])
    for _ in range(2):
        await harness.ask(headers=[(credential, "secret")])
    assert origin.calls == calls


async def test_a_response_to_nobody_is_not_given_to_somebody_unless_it_is_for_all() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    await harness.ask()
    await harness.ask(headers=[("Cookie", "session=1")])
    await harness.ask(headers=[("Authorization", "Basic x")])
    assert origin.calls == 3
    assert (await harness.ask()).body == b"1"


async def test_cookies_count_for_nothing_where_the_file_says_so() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", CachePolicy(ttl=60.0, ignores_cookies=True))])
    assert [(await harness.ask(headers=[("Cookie", each)])).body for each in "ab"] == [b"1", b"1"]
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])), cookies_identify=False)
    assert [(await harness.ask(headers=[("Cookie", each)])).body for each in "ab"] == [b"1", b"1"]
    assert (await harness.ask(headers=[("Authorization", "x")])).body == b"2"
    assert origin.calls == 2


class Named(BaseUser):
    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.name


BY_IDENTITY = [("/**", CachePolicy(ttl=60.0, by_identity=True))]


async def test_users_are_told_apart_by_identity_or_name_and_by_scopes() -> None:
    harness = CacheHarness(origin := Origin(Reply()), BY_IDENTITY)
    people: list[dict[str, Any]] = [
        {"user": UnauthenticatedUser(), "auth": AuthCredentials()},
        {"user": SimpleUser("ann"), "auth": AuthCredentials(["authenticated"])},
        {"user": SimpleUser("ann"), "auth": AuthCredentials(["authenticated", "admin"])},
        {"user": Named("bob")},
    ]
    for _ in range(2):
        assert [(await harness.ask(**person)).body for person in people] == [b"1", b"2", b"3", b"4"]
    assert (await harness.ask()).body == b"1"
    assert origin.calls == 4


class OfIssuer(Named):
    def __init__(self, issuer: str, name: str) -> None:
        super().__init__(name)
        self.subject_identifier = SubjectIdentifier(issuer, name)


async def test_users_of_two_issuers_who_share_a_name_are_told_apart() -> None:
    harness = CacheHarness(origin := Origin(Reply()), BY_IDENTITY)
    people = [OfIssuer("a", "ada"), OfIssuer("b", "ada"), Named("ada"), OfIssuer("a", "b:c"), OfIssuer("a:b", "c")]
    for _ in range(2):
        assert [(await harness.ask(user=each)).body for each in people] == [b"1", b"2", b"3", b"4", b"5"]
    assert origin.calls == 5


async def test_no_scopes_make_one_user_look_like_another_with_a_token() -> None:
    harness = CacheHarness(origin := Origin(Reply()), BY_IDENTITY)
    ann = SimpleUser("ann")
    await harness.ask(user=ann, auth=AuthCredentials(["authorization", "x"]))
    await harness.ask(user=ann, auth=AuthCredentials([]), headers=[("Authorization", "x")])
    assert origin.calls == 2


async def test_nothing_is_stored_for_a_user_whom_nothing_tells_from_another() -> None:
    for reply in (Reply(), Reply([(CC, "public, max-age=60")])):
        harness = CacheHarness(origin := Origin(reply), BY_IDENTITY)
        for _ in range(2):
            await harness.ask(user=Named(""))
        await harness.ask()
        await harness.ask(user=Named(""))
        assert origin.calls == 4


async def test_followers_are_never_given_what_is_somebody_elses() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    origin.gate = asyncio.Event()
    anonymous = [asyncio.create_task(harness.ask()) for _ in range(3)]
    known = [asyncio.create_task(harness.ask(headers=[("Authorization", each)])) for each in "aabb"]
    for _ in range(20):
        await asyncio.sleep(0)
    origin.gate.set()
    answers = await asyncio.gather(*anonymous, *known)
    assert len({answer.body for answer in answers[:3]}) == 1
    assert len({answer.body for answer in answers}) == 5


async def test_a_user_whom_nothing_tells_from_another_does_not_follow_a_stranger() -> None:
    harness = CacheHarness(origin := Origin(Reply()), BY_IDENTITY)
    origin.gate = asyncio.Event()
    people: list[dict[str, Any]] = [{}, {"user": Named("")}, {}]
    tasks = [asyncio.create_task(harness.ask(**person)) for person in people]
    for _ in range(20):
        await asyncio.sleep(0)
    origin.gate.set()
    first, nameless, second = [answer.body for answer in await asyncio.gather(*tasks)]
    assert first == second != nameless


@dataclass(frozen=True)
class Person:
    authorization: str | None
    cookie: str | None
    user: str | None

    def asks(self) -> dict[str, Any]:
        shown = {"Authorization": self.authorization, "Cookie": self.cookie}
        headers = [(name, value) for name, value in shown.items() if value]
        return {"headers": headers, **({"user": SimpleUser(self.user)} if self.user else {})}


people = st.builds(
    Person,
    st.sampled_from([None, "Bearer a", "Bearer b"]),
    st.sampled_from([None, "s=1", "s=2"]),
    st.sampled_from([None, "ann", "bob"]),
)
policies = st.builds(
    CachePolicy,
    ttl=st.sampled_from([None, 5.0, 60.0]),
    vary=st.sampled_from([(), (b"accept-language",), (b"authorization",), (b"cookie",), (b"authorization", b"cookie")]),
    by_identity=st.booleans(),
    stale_while_revalidate=st.sampled_from([0.0, 30.0]),
    stale_if_error=st.sampled_from([0.0, 30.0]),
    early_refresh=st.sampled_from([0.0, 0.5]),
    query=st.sampled_from([None, frozenset(), frozenset({b"a"})]),
)
controls = st.sampled_from(
    [
        "",
        "max-age=10",
        "max-age=10, stale-while-revalidate=20",
        "no-cache",
        "max-age=5, stale-if-error=60",
        "must-revalidate, max-age=9",
    ]
)
varies = st.sampled_from(["", "Accept-Language", "Authorization", "Cookie", "Cookie, Authorization"])
methods = st.sampled_from(["GET", "GET", "GET", "HEAD", "POST"])
targets = st.sampled_from(["/a", "/a?a=1", "/b"])
steps = st.lists(st.tuples(people, targets, methods, st.integers(0, 8)), min_size=2, max_size=25)


class Mirror:
    """An application that answers each with who he is, whose validators are the same for all."""

    def __init__(self, control: str, vary: str, has_tag: bool) -> None:
        fields = {b"cache-control": control, b"vary": vary, b"etag": '"1"' if has_tag else ""}
        self.headers = [(name, value.encode()) for name, value in fields.items() if value]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        headers = dict(scope["headers"])
        authorization, cookie = headers.get(b"authorization", b""), headers.get(b"cookie", b"")
        user = scope["user"].identity if "user" in scope else ""
        body = seen(scope["path"], authorization.decode(), cookie.decode(), user)
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def seen(*what: str) -> bytes:
    return repr(what).encode()


Steps = list[tuple[Person, str, str, int]]
crowds = st.tuples(policies, st.builds(Mirror, controls, varies, st.booleans()), steps)


async def everybody_gets_his_own(policy: CachePolicy, mirror: Mirror, asked: Steps) -> None:
    async def one(person: Person, target: str, method: str) -> None:
        answer = await harness.ask(target, method, **person.asks())
        path = target.partition("?")[0]
        own = seen(path, person.authorization or "", person.cookie or "", person.user or "")
        assert answer.body == (b"" if method == "HEAD" else own)

    harness = CacheHarness(mirror, [("/**", policy)])
    for person, target, method, seconds in asked:
        await one(person, target, method)
        harness.pass_time(seconds)
    await asyncio.gather(*[one(person, target, method) for person, target, method, _ in asked])
    await harness.settle()


@settings(max_examples=300)
@given(crowds)
def test_two_people_never_get_each_others_response(crowd: tuple[CachePolicy, Mirror, Steps]) -> None:
    asyncio.run(everybody_gets_his_own(*crowd))


@pytest.mark.needs("redis")
@settings(max_examples=60)
@given(crowds)
def test_two_people_never_get_each_others_response_from_redis(
    redis_server: Shared, crowd: tuple[CachePolicy, Mirror, Steps]
) -> None:
    async def once() -> None:
        async with sharing(redis_server.url):
            await everybody_gets_his_own(*crowd)

    redis_server.clear()
    asyncio.run(once())


STATIC = [("/**/*.css", CachePolicy(ttl=60.0)), ("/static/**", CachePolicy(ttl=60.0)), ("/*.js", CachePolicy(ttl=60.0))]


@pytest.mark.parametrize(
    "target",
    ["/account/x.css", "/me/x.css", "/me;a.css", "/me%2f..%2fa.js", "//me/a.css", "/me%00.css", "/static/../me",
     "/static/%2e%2e/me", "/static\\..\\me.css", "/me%3fa.css", "/me%23.css", "/static/%252e%252e/me", "/me%0a.css"],
)  # fmt: skip
@pytest.mark.parametrize("credential", ["Authorization", "Cookie"])
async def test_a_private_page_is_not_stored_under_a_rule_for_static_files(target: str, credential: str) -> None:
    harness = CacheHarness(Origin(Reply()), STATIC)
    assert (await harness.ask(target, headers=[(credential, "victim")])).body == b"1"
    assert (await harness.ask(target)).body == b"2"
    assert (await harness.ask(target, headers=[(credential, "attacker")])).body == b"3"


@pytest.mark.parametrize(
    "target",
    [
        "/static/../me",
        "/static/..%2fme",
        "/static/%2e%2e/me",
        "//static/a",
        "/me;x.css",
        "/static/a%00",
        "/static/a%5cb",
    ],
)
async def test_a_path_that_can_be_read_in_two_ways_has_no_policy(target: str) -> None:
    harness = CacheHarness(origin := Origin(Reply()), STATIC)
    await harness.ask(target)
    await harness.ask(target)
    assert origin.calls == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a%2Fb", "/a/b"),
        ("/A", "/a"),
        ("/a/", "/a"),
        ("/%61", "/a"),
        ("/a?b", "/a"),
        ("/a?b=1", "/a?B=1"),
        ("/a%3Fb", "/a?b"),
    ],
)
async def test_keys_keep_raw_path_and_query(first: str, second: str) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    await harness.ask(first)
    await harness.ask(second)
    assert origin.calls == 2


async def test_schemes_and_hosts_do_not_share() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    hosts: list[Pairs] = [[], [("Host", "evil.example")], [("Host", "shop.example"), ("Host", "evil.example")]]
    for host in hosts:
        await harness.ask(headers=host)
    await harness.ask(scheme="https")
    assert origin.calls == 4


async def test_requests_without_a_host_share_only_what_one_server_was_asked() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    servers: list[Any] = [("a.example", 80), ("b.example", 80), ("a.example", 8000), ("/run/socket", None), None]
    for _ in range(2):
        for server in servers:
            scope = harness.scope(headers=[], server=server)
            scope["headers"] = []
            await harness.chain(scope, empty_body, collecting(TestResponse()))
    await harness.ask(headers=[("Host", ""), ("Host", "shop.example")])
    await harness.ask()
    assert origin.calls == len(servers) + 2


async def test_what_is_mounted_elsewhere_has_keys_of_its_own() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    for _ in range(2):
        for root in ("", "/a", "/b"):
            await harness.ask("/page", root_path=root)
    assert origin.calls == 3


@pytest.mark.parametrize("name", sorted(name.decode() for name in REWRITING))
async def test_what_a_rewriting_header_provokes_reaches_only_who_sends_it(name: str) -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    assert (await harness.ask(headers=[(name, "evil.example")])).body == b"1"
    assert (await harness.ask()).body == b"2"
    assert (await harness.ask(headers=[(name, "evil.example")])).body == b"1"
    assert (await harness.ask(headers=[(name, "other.example")])).body == b"3"
    assert origin.calls == 3


async def test_errors_are_not_stored_unless_somebody_says_so() -> None:
    for status in (400, 404, 413, 500, 503):
        harness = CacheHarness(origin := Origin(Reply(status=status)), [("/**", CachePolicy(ttl=60.0))])
        await harness.ask()
        await harness.ask()
        assert origin.calls == 2
    gone = CachePolicy(ttl=60.0, statuses=frozenset({404}))
    harness = CacheHarness(origin := Origin(Reply(status=404)), [("/**", gone)])
    await harness.ask()
    await harness.ask()
    assert origin.calls == 1


keys = st.lists(st.binary(max_size=6), max_size=6).map(tuple)


@given(keys, keys)
def test_different_keys_have_different_digests(first: tuple[bytes, ...], second: tuple[bytes, ...]) -> None:
    assert (digest(first) == digest(second)) == (first == second)


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=2, max_size=5))
def test_moving_the_border_between_two_parts_of_a_key_makes_another(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    made = {digest((whole[:place], whole[place:])) for place in range(len(whole) + 1)}
    assert len(made) == len(whole) + 1
