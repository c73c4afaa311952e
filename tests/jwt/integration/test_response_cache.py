"""The cache never mixes responses of users and of anonymous clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from scalekit.contracts import TOKENS
from tests.jwt.dpop_client import DpopClient
from tests.jwt.harness import JwtClient, login, service
from tests.servers import Redis

pytestmark = pytest.mark.anyio
POLICIES: dict[str, dict[str, Any]] = {
    "for all": {"path": "/**", "ttl": "1h"},
    "by identity": {"path": "/**", "ttl": "1h", "vary_by": "identity", "cookies": "ignore"},
}


async def whoami(incoming: Request) -> Response:
    name = incoming.user.identity if incoming.user.is_authenticated else "anonymous"
    return PlainTextResponse(f"for {name}")


application = Starlette(
    routes=[Route("/login", login, methods=["POST"]), Route("/open", whoami), Route("/api/user", whoami)]
)


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis() as running:
        yield running


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def cache(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    if request.param == "memory":
        return {}
    server: Redis = request.getfixturevalue("server")
    server.cli("FLUSHALL")
    return {"url": server.url, "store_timeout": "10s"}


def plugins(cache: Mapping[str, Any], policy: str) -> dict[str, Any]:
    return {"cache": {**cache, "policies": [POLICIES[policy]]}}


def is_hit(status: str | None) -> bool:
    return status is not None and "hit" in status


async def request_anonymously(client: JwtClient, times: int = 3) -> None:
    seen = [await client.new_client().send("/open") for _ in range(times)]
    assert {response.body for response in seen} == {b"for anonymous"}
    assert is_hit(seen[-1].header("cache-status")), "the last response is a hit"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("first", ["anonymous", "ada"])
async def test_each_user_gets_its_own_response_in_any_order(cache: Mapping[str, Any], policy: str, first: str) -> None:
    async with service({"fingerprint": False}, plugins(cache, policy), application) as client:
        ada, eve = client.new_client(), client.new_client()
        await ada.login("ada")
        await eve.login("eve")
        if first == "anonymous":
            await request_anonymously(client)
        for _ in range(3):
            for person, name in ((ada, b"ada"), (eve, b"eve")):
                assert (await person.api("/open")).body == b"for " + name
                assert (await person.api("/api/user")).body == b"for " + name
            await request_anonymously(client)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_stored_response_of_a_user_needs_its_token(cache: Mapping[str, Any], policy: str) -> None:
    async with service(plugins=plugins(cache, policy), application=application) as client:
        await client.login("ada")
        for _ in range(3):
            assert (await client.api()).body == b"for ada"
        for headers in ({}, {"authorization": "Bearer x"}, {"cookie": client.cookie}):
            response = await client.new_client().send("/api/user", **headers)
            assert (response.status, b"ada" in response.body) == (401, False)
        assert (await client.new_client().send("/api/user", authorization=f"Bearer {client.token}")).status == 401
        assert (await client.api()).body == b"for ada", "a refusal is not stored"


async def test_an_invalid_token_on_a_public_path_gets_the_anonymous_response(
    cache: Mapping[str, Any],
) -> None:
    async with service({"fingerprint": False}, plugins(cache, "for all"), application) as client:
        await client.login("ada")
        for _ in range(2):
            assert (await client.api("/open")).body == b"for ada"
            assert (await client.api("/open", authorization="Bearer x.y.z")).body == b"for anonymous"
            await request_anonymously(client)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_bound_token_gets_its_own_response_and_needs_a_proof_each_time(
    cache: Mapping[str, Any], policy: str
) -> None:
    async with service({"sender_constraint": "dpop"}, plugins(cache, policy), application) as client:
        holder = DpopClient(client)
        await holder.login("ada")
        await request_anonymously(client)
        for _ in range(3):
            assert (await holder.api("/open")).body == b"for ada"
            assert (await holder.api("/api/user")).body == b"for ada"
            assert (await holder.api("/api/user", dpop="x")).status == 401
            await request_anonymously(client)


async def test_a_revoked_user_gets_no_stored_response(cache: Mapping[str, Any]) -> None:
    async with service({"fingerprint": False}, plugins(cache, "by identity"), application) as client:
        await client.login("ada")
        for _ in range(3):
            assert (await client.api()).body == b"for ada"
        tokens = client.app.context.get(TOKENS)
        await tokens.revoke_all("ada")
        while (response := await client.api()).status == 200:
            assert response.body == b"for ada"
            await asyncio.sleep(0.01)
        assert (await client.api()).status == 401


async def test_responses_of_users_are_stored_apart() -> None:
    calls = 0

    async def user_name(request: Request) -> Response:
        nonlocal calls
        calls += 1
        return JSONResponse({"user": request.user.identity})

    cached = Starlette(routes=[Route("/login", login, methods=["POST"]), Route("/api/user", user_name)])
    policy = {"path": "/api/*", "ttl": "1h", "vary_by": "identity", "cookies": "ignore"}
    async with service(plugins={"cache": {"policies": [policy]}}, application=cached) as client:
        people = [client.new_client(), client.new_client()]
        for number, person in enumerate(people):
            await person.login(f"user {number}")
        for _ in range(3):
            for number, person in enumerate(people):
                assert orjson.loads((await person.api()).body) == {"user": f"user {number}"}
        assert calls == 2
        assert (await client.send("/api/user")).status == 401
