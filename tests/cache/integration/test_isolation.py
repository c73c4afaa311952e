"""No response to one user reaches another."""

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
from scalekit_cache.policies import CachePolicy
from tests.cache.conftest import Shared, sharing
from tests.cache.harness import CacheHarness, Origin, Pairs, Reply

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
async def test_a_response_to_a_request_with_credentials_is_stored_only_when_allowed(
    credential: str, headers: Pairs, policy: CachePolicy, calls: int
) -> None:
    harness = CacheHarness(origin := Origin(Reply(headers)), [("/**", policy)])
    for _ in range(2):
        await harness.fetch(headers=[(credential, "secret")])
    assert origin.calls == calls


async def test_a_request_with_credentials_does_not_reuse_an_anonymous_response() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    await harness.fetch()
    await harness.fetch(headers=[("Cookie", "session=1")])
    await harness.fetch(headers=[("Authorization", "Basic x")])
    assert origin.calls == 3
    assert (await harness.fetch()).body == b"1"


async def test_ignored_cookies_are_no_credential() -> None:
    harness = CacheHarness(origin := Origin(Reply()), [("/**", CachePolicy(ttl=60.0, ignores_cookies=True))])
    assert [(await harness.fetch(headers=[("Cookie", each)])).body for each in "ab"] == [b"1", b"1"]
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])), cookies_identify=False)
    assert [(await harness.fetch(headers=[("Cookie", each)])).body for each in "ab"] == [b"1", b"1"]
    assert (await harness.fetch(headers=[("Authorization", "x")])).body == b"2"
    assert origin.calls == 2


class NamedUser(BaseUser):
    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.name


BY_IDENTITY = [("/**", CachePolicy(ttl=60.0, by_identity=True))]


async def test_responses_vary_by_user_name_and_scopes() -> None:
    harness = CacheHarness(origin := Origin(Reply()), BY_IDENTITY)
    users: list[dict[str, Any]] = [
        {"user": UnauthenticatedUser(), "auth": AuthCredentials()},
        {"user": SimpleUser("ann"), "auth": AuthCredentials(["authenticated"])},
        {"user": SimpleUser("ann"), "auth": AuthCredentials(["authenticated", "admin"])},
        {"user": NamedUser("bob")},
    ]
    for _ in range(2):
        assert [(await harness.fetch(**credentials)).body for credentials in users] == [b"1", b"2", b"3", b"4"]
    assert (await harness.fetch()).body == b"1"
    assert origin.calls == 4


class UserOfIssuer(NamedUser):
    def __init__(self, issuer: str, name: str) -> None:
        super().__init__(name)
        self.subject_identifier = SubjectIdentifier(issuer, name)


async def test_users_of_two_issuers_with_one_name_get_different_responses() -> None:
    harness = CacheHarness(origin := Origin(Reply()), BY_IDENTITY)
    users = [
        UserOfIssuer("a", "ada"),
        UserOfIssuer("b", "ada"),
        NamedUser("ada"),
        UserOfIssuer("a", "b:c"),
        UserOfIssuer("a:b", "c"),
    ]
    for _ in range(2):
        assert [(await harness.fetch(user=each)).body for each in users] == [b"1", b"2", b"3", b"4", b"5"]
    assert origin.calls == 5


async def test_scopes_and_authorization_are_not_confused_in_the_key() -> None:
    harness = CacheHarness(origin := Origin(Reply()), BY_IDENTITY)
    ann = SimpleUser("ann")
    await harness.fetch(user=ann, auth=AuthCredentials(["authorization", "x"]))
    await harness.fetch(user=ann, auth=AuthCredentials([]), headers=[("Authorization", "x")])
    assert origin.calls == 2


async def test_no_response_is_stored_for_a_user_without_a_name() -> None:
    for reply in (Reply(), Reply([(CC, "public, max-age=60")])):
        harness = CacheHarness(origin := Origin(reply), BY_IDENTITY)
        for _ in range(2):
            await harness.fetch(user=NamedUser(""))
        await harness.fetch()
        await harness.fetch(user=NamedUser(""))
        assert origin.calls == 4


async def test_followers_never_get_the_response_of_another_user() -> None:
    harness = CacheHarness(origin := Origin(Reply([(CC, "max-age=60")])))
    origin.gate = asyncio.Event()
    anonymous = [asyncio.create_task(harness.fetch()) for _ in range(3)]
    authenticated = [asyncio.create_task(harness.fetch(headers=[("Authorization", each)])) for each in "aabb"]
    for _ in range(20):
        await asyncio.sleep(0)
    origin.gate.set()
    responses = await asyncio.gather(*anonymous, *authenticated)
    assert len({response.body for response in responses[:3]}) == 1
    assert len({response.body for response in responses}) == 5


async def test_a_user_without_a_name_does_not_follow_another_request() -> None:
    harness = CacheHarness(origin := Origin(Reply()), BY_IDENTITY)
    origin.gate = asyncio.Event()
    users: list[dict[str, Any]] = [{}, {"user": NamedUser("")}, {}]
    tasks = [asyncio.create_task(harness.fetch(**credentials)) for credentials in users]
    for _ in range(20):
        await asyncio.sleep(0)
    origin.gate.set()
    first, nameless, second = [response.body for response in await asyncio.gather(*tasks)]
    assert first == second != nameless


@dataclass(frozen=True)
class Credentials:
    authorization: str | None
    cookie: str | None
    user: str | None

    def as_request(self) -> dict[str, Any]:
        shown = {"Authorization": self.authorization, "Cookie": self.cookie}
        headers = [(name, value) for name, value in shown.items() if value]
        return {"headers": headers, **({"user": SimpleUser(self.user)} if self.user else {})}


users = st.builds(
    Credentials,
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
steps = st.lists(st.tuples(users, targets, methods, st.integers(0, 8)), min_size=2, max_size=25)


class EchoApp:
    """An application whose responses contain the credentials, with the same validators for all users."""

    def __init__(self, control: str, vary: str, has_tag: bool) -> None:
        fields = {b"cache-control": control, b"vary": vary, b"etag": '"1"' if has_tag else ""}
        self.headers = [(name, value.encode()) for name, value in fields.items() if value]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        headers = dict(scope["headers"])
        authorization, cookie = headers.get(b"authorization", b""), headers.get(b"cookie", b"")
        user = scope["user"].identity if "user" in scope else ""
        body = echo(scope["path"], authorization.decode(), cookie.decode(), user)
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def echo(*parts: str) -> bytes:
    return repr(parts).encode()


Steps = list[tuple[Credentials, str, str, int]]
crowds = st.tuples(policies, st.builds(EchoApp, controls, varies, st.booleans()), steps)


async def check_every_user_gets_their_own_response(policy: CachePolicy, app: EchoApp, steps: Steps) -> None:
    async def check(credentials: Credentials, target: str, method: str) -> None:
        response = await harness.fetch(target, method, **credentials.as_request())
        path = target.partition("?")[0]
        own = echo(path, credentials.authorization or "", credentials.cookie or "", credentials.user or "")
        assert response.body == (b"" if method == "HEAD" else own)

    harness = CacheHarness(app, [("/**", policy)])
    for credentials, target, method, seconds in steps:
        await check(credentials, target, method)
        harness.pass_time(seconds)
    await asyncio.gather(*[check(credentials, target, method) for credentials, target, method, _ in steps])
    await harness.settle()


@settings(max_examples=300)
@given(crowds)
def test_two_users_never_get_each_others_response(crowd: tuple[CachePolicy, EchoApp, Steps]) -> None:
    asyncio.run(check_every_user_gets_their_own_response(*crowd))


@pytest.mark.needs("redis")
@settings(max_examples=60)
@given(crowds)
def test_two_users_never_get_each_others_response_from_redis(
    redis_server: Shared, crowd: tuple[CachePolicy, EchoApp, Steps]
) -> None:
    async def once() -> None:
        async with sharing(redis_server.url):
            await check_every_user_gets_their_own_response(*crowd)

    redis_server.clear()
    asyncio.run(once())
