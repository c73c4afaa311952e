"""Users are identified by issuer and subject: one subject at two issuers is two users."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import ConfigError, create_app
from scalekit.contracts import TOKENS, SubjectIdentifier, subject_of
from scalekit_jwt.user import TokenUser
from scalekit_ratelimit import limited
from tests.jwt.harness import JwtClient, service
from tests.jwt.issuer_server import IssuerServer

pytestmark = pytest.mark.anyio
CLAIMED = {"iat": int(time.time())}


class HeaderBackend(AuthenticationBackend):
    """Authenticates a user by a header, as middleware of an application does."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        name = conn.headers.get("x-token")
        return (AuthCredentials(), SimpleUser(name)) if name else None


@limited("1/h", key="subject", exempt=[SubjectIdentifier("", "root")])
async def decorated(request: Request) -> PlainTextResponse:
    return PlainTextResponse("")


async def counted(request: Request) -> PlainTextResponse:
    counted.calls += 1  # type: ignore[attr-defined]
    return PlainTextResponse(str(counted.calls))  # type: ignore[attr-defined]


counted.calls = 0  # type: ignore[attr-defined]


async def revoke(request: Request) -> PlainTextResponse:
    await TOKENS(request).revoke_all(request.query_params["subject"])
    return PlainTextResponse("")


own = Starlette(
    routes=[Route("/decorated", decorated)],
    middleware=[Middleware(AuthenticationMiddleware, backend=HeaderBackend())],
)
app = Starlette(routes=[Route("/api/x", counted), Route("/decorated", decorated), Route("/revoke", revoke)])


@pytest.fixture
def issuers() -> Iterator[list[IssuerServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(IssuerServer().serving()) for _ in range(2)]


@asynccontextmanager
async def service_trusting(issuers: list[IssuerServer], **plugins: Any) -> AsyncGenerator[JwtClient, None]:
    tables = [each.table()["issuers"][0] for each in issuers]
    async with service({"issuers": tables, "protected_paths": ["/api/**"]}, plugins, app) as client:
        yield client


async def status(client: JwtClient, issuer: IssuerServer, subject: str = "ada", target: str = "/api/x") -> int:
    client.token = issuer.forge.with_claims(sub=subject)
    return (await client.api(target)).status


async def test_one_subject_at_two_issuers_is_counted_separately(issuers: list[IssuerServer]) -> None:
    limits = {"policies": [{"name": "users", "path": "/api/**", "limit": "1/h", "key": "subject"}]}
    async with service_trusting(issuers, ratelimit=limits) as client:
        assert [await status(client, each) for each in issuers for _ in range(2)] == [200, 429] * 2


async def test_a_limit_in_code_counts_per_issuer_and_subject(issuers: list[IssuerServer]) -> None:
    async with service_trusting(issuers, ratelimit={}) as client:
        assert [await status(client, each, "m", "/decorated") for each in issuers for _ in range(2)] == [200, 429] * 2


async def test_an_exemption_applies_to_the_user_of_its_issuer_only(issuers: list[IssuerServer]) -> None:
    trusted, other = issuers
    exempt = [{"issuer": trusted.url, "subject": "root"}]
    policy = {"name": "users", "path": "/api/**", "limit": "1/h", "key": "subject", "exempt": exempt}
    async with service_trusting(issuers, ratelimit={"policies": [policy]}) as client:
        assert [await status(client, trusted, "root") for _ in range(3)] == [200] * 3
        assert [await status(client, other, "root") for _ in range(2)] == [200, 429]


async def test_users_authenticated_by_the_application_have_no_issuer() -> None:
    async with service(application=own, plugins={"ratelimit": {}}) as client:
        zoe = [(await client.send("/decorated", **{"x-token": "zoe"})).status for _ in range(2)]
        root = [(await client.send("/decorated", **{"x-token": "root"})).status for _ in range(3)]
    assert (zoe, root) == ([200, 429], [200] * 3)
    async with service_trusting([], ratelimit={}) as client:  # its own issuer has the subjects root and zoe too
        for name in ("root", "zoe"):
            tokens = await client.app.context.get(TOKENS).issue(name)
            client.token, client.cookie = tokens.access, tokens.headers["set-cookie"].partition(";")[0]
            assert [(await client.api("/decorated")).status for _ in range(2)] == [200, 429]


async def test_revoke_all_revokes_no_token_of_another_issuer(issuers: list[IssuerServer]) -> None:
    async with service_trusting(issuers) as client:
        assert (await client.send("/revoke?subject=ada")).status == 200
        assert [await status(client, each) for each in issuers] == [200, 200]


async def test_services_that_share_a_session_store_revoke_their_own_sessions_only(tmp_path: Any) -> None:
    pool = {"pool": {"url": f"sqlite:///{tmp_path}/shared.db"}}
    async with (
        service({"issuer": "https://a.example"}, pool) as first,
        service({"issuer": "https://b.example"}, pool) as second,
    ):
        for each in (first, second):
            await each.login("ada")
        await first.send("/revoke", "POST", {"subject": "ada"})
        assert (await first.refresh()).status == 401
        assert (await second.refresh()).status == 200


@pytest.mark.parametrize("text", ["subject:ada", "subject:https://login.example.com ada"])
def test_a_subject_without_its_issuer_is_rejected_with_the_remedy(text: str) -> None:
    table = {"name": "a", "limit": "1/h", "exempt": [text]}
    with pytest.raises(ConfigError, match=r"has no issuer, .*write \{ issuer = .*, subject = "):
        create_app({"plugins": {"ratelimit": {"policies": [table]}}}, app=app)


@pytest.mark.parametrize(
    "exemption",
    [
        {"subject": "ada"},
        {"issuer": "https://a"},
        {"issuer": "https://a", "subject": ""},
        {"issuer": "https://a", "subject": "ada", "scope": "x"},
        {"issuer": 1, "subject": "ada"},
        {"issuer": "https://a", "subject": ["ada"]},
        "ada",
        7,
        ["10.0.0.0/8"],
    ],
)
def test_an_invalid_exemption_is_rejected_with_an_example(exemption: Any) -> None:
    table = {"name": "a", "limit": "1/h", "exempt": [exemption]}
    with pytest.raises(ConfigError, match=r'expected a network such as "10.0.0.0/8" or a user as \{ issuer = '):
        create_app({"plugins": {"ratelimit": {"policies": [table]}}}, app=app)


PARTS = st.text(alphabet="ab:0123456789 \0", max_size=4)


@given(PARTS, PARTS, PARTS, PARTS)
def test_two_users_never_share_an_identifier_text(a: str, b: str, c: str, d: str) -> None:
    one, other = SubjectIdentifier(a, b), SubjectIdentifier(c, d)
    assert (one.text == other.text) == (one.encoded == other.encoded) == ((a, b) == (c, d))


def test_attributes_of_an_application_user_set_no_issuer() -> None:
    user = SimpleUser("ada")
    user.issuer = "https://login.example.com"  # type: ignore[attr-defined]
    user.subject_identifier = ("https://login.example.com", "ada")  # type: ignore[attr-defined]
    assert subject_of(user) == SubjectIdentifier("", "ada")
    assert "subject_identifier" in TokenUser.__slots__
