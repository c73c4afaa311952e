"""Requests with valid, invalid, insufficient and missing tokens."""

from __future__ import annotations

import orjson
import pytest

from scalekit_jwt.authenticator import MAX_COOKIE_BYTES
from scalekit_jwt.plugin import COMPONENTS
from tests.jwt.harness import service

pytestmark = pytest.mark.anyio


async def test_a_token_authenticates_its_user_on_protected_paths() -> None:
    async with service() as client:
        response = await client.login("ada", scopes=["orders:read"])
        assert response.header("cache-control") == "no-store"
        assert orjson.loads(response.body)["expires_in"] == 900
        for _ in range(2):  # the second is a cache hit
            assert orjson.loads((await client.api()).body) == {"user": "ada", "scopes": ["orders:read"]}


async def test_a_request_without_a_token_gets_a_challenge() -> None:
    async with service() as client:
        response = await client.send("/api/user")
        assert response.status == 401
        assert response.header("content-type") == "application/problem+json"
        assert response.header("www-authenticate") == 'Bearer realm="api"'
        assert (await client.send("/api/user", authorization="Basic YTpi")).header("www-authenticate") == (
            'Bearer realm="api"'
        )


async def test_an_invalid_token_is_refused_on_protected_paths_and_ignored_elsewhere() -> None:
    async with service() as client:
        await client.login("ada")
        client.token = client.token[:-8] + "AAAAAAAA"
        response = await client.api()
        assert response.status == 401
        assert 'error="invalid_token"' in str(response.header("www-authenticate"))
        assert orjson.loads((await client.api("/open")).body)["user"] is None


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "__Host-Fgp=",
        "__Host-Fgp=other",
        "Fgp=x",
        "x{0}",
        "={0}",
        "\x0b{0}; a=b",
        "__Host-Fgp=; __Host-Fgp=other",
        "__Secure-{1}",
        "__host-{1}",
        "; ".join(f"__Host-Fgp={number}" for number in range(16)) + "; {0}",
    ],
)
async def test_a_token_without_its_cookie_is_refused(cookie: str) -> None:
    async with service() as client:
        await client.login("ada")
        assert (await client.api()).status == 200
        client.cookie = cookie.format(client.cookie, client.cookie.removeprefix("__Host-"))
        assert (await client.api()).status == 401
        assert (await client.refresh()).status == 401


@pytest.mark.parametrize("insecure", [False, True])
@pytest.mark.parametrize(
    "cookies", ["{0}=planted; {1}", "{1}; {0}=planted", "a=b; {0}=; {0}=x;{1} ; {0}=y", "{1}; {1}"]
)
async def test_a_planted_cookie_beside_the_valid_one_locks_no_user_out(cookies: str, insecure: bool) -> None:
    async with service({"insecure_cookie": insecure}) as client:
        await client.login("ada")
        valid_cookie = client.cookie
        client.cookie = cookies.format(valid_cookie.partition("=")[0], valid_cookie)
        assert (await client.api()).status == 200
        renewed = await client.refresh()
        assert renewed.status == 200
        assert str(renewed.header("set-cookie")).startswith(f"{valid_cookie};"), "the matching cookie is refreshed"
        client.refresh_token = orjson.loads(renewed.body)["refresh_token"]
        assert (await client.logout()).status == 204


async def test_the_cookie_is_host_only_http_only_and_secure() -> None:
    async with service() as client:
        response = await client.login("ada")
        cookie = str(response.header("set-cookie"))
        assert cookie.startswith("__Host-Fgp=")
        assert "domain" not in cookie.lower()
        assert {"HttpOnly", "Secure", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    async with service({"insecure_cookie": True}) as client:
        cookie = str((await client.login("ada")).header("set-cookie"))
        assert cookie.startswith("Fgp=")
        assert "Secure" not in cookie
        assert (await client.api()).status == 200
    async with service({"fingerprint": False}) as client:
        assert (await client.login("ada")).header("set-cookie") is None
        assert (await client.api()).status == 200


async def test_rules_require_scopes_and_claims() -> None:
    rules = [
        {"path": "/api/**", "methods": ["POST"], "scopes": ["write"]},
        {"path": "/open", "claims": {"tenant": ["a", "b"]}},
    ]
    async with service({"rules": rules}) as client:
        await client.login("ada", claims={"tenant": "c"}, scopes=["read"])
        assert (await client.api()).status == 200
        response = await client.api(method="POST")
        assert response.status == 403
        assert 'error="insufficient_scope"' in str(response.header("www-authenticate"))
        assert 'scope="write"' in str(response.header("www-authenticate"))
        assert (await client.api("/open")).status == 403
        await client.login("ada", claims={"tenant": "b"}, scopes=["write"])
        assert (await client.api(method="POST")).status == 200
        assert (await client.api("/open")).status == 200


async def test_starlette_requires_checks_the_scopes_of_the_token() -> None:
    async with service() as client:
        await client.login("ada")
        assert (await client.api("/admin")).status == 403
        await client.login("root", scopes=["admin"])
        assert (await client.api("/admin")).status == 200
        assert (await client.send("/admin")).status == 403


async def test_two_authorization_headers_are_refused() -> None:
    async with service() as client:
        await client.login("ada")
        scope_headers = {"authorization": f"Bearer {client.token}", "Authorization": f"Bearer {client.token}"}
        response = await client.send("/api/user", **scope_headers)
        assert response.status == 400
        assert 'error="invalid_request"' in str(response.header("www-authenticate"))


async def test_a_token_takes_one_cache_entry_for_every_spelling_of_its_scheme() -> None:
    async with service(plugins={"metrics": {}}) as client:
        await client.login("ada")
        spelled = [
            "bearer  {}",
            "Bearer {}",
            "Bearer  {}",
            "BEARER {} ",
            "Bearer {}",
            "dPOP {}",
            "DPoP {}",
            "bearer {}",
        ]
        statuses = [(await client.api(authorization=each.format(client.token))).status for each in spelled]
        assert statuses == [200] * 5 + [401, 401, 200], "an unbound token is refused with the DPoP scheme"
        page = (await client.send("/metrics")).body.decode()
    assert 'scalekit_jwt_verified_total{outcome="verified"} 2\n' in page
    assert 'scalekit_jwt_verified_total{outcome="cached"} 6\n' in page


@pytest.mark.parametrize("more", ["a=b", "a=" + 2 * MAX_COOKIE_BYTES * "b"])
async def test_the_cookie_is_verified_for_every_new_cookie_header(more: str) -> None:
    async with service() as client:
        await client.login("ada")
        valid_cookie = client.cookie
        name = valid_cookie.partition("=")[0]
        for cookies, status in [
            (f"{more}; {valid_cookie}", 200),
            (f"{more}; {valid_cookie}", 200),
            (f"{more}; {valid_cookie[:-1]}", 401),
            (f"{more}; {name}=other", 401),
            (more, 401),
            (valid_cookie, 200),
            ("", 401),
            (f"{more}; {valid_cookie}", 200),
        ]:
            assert (await client.api(cookie=cookies)).status == status, cookies
        cached = next(iter(client.app.context.get(COMPONENTS).authenticator._cache.values()))
        assert cached.cookies is None or len(cached.cookies) <= MAX_COOKIE_BYTES
