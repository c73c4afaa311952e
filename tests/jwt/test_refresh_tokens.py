"""Rotation and reuse of refresh tokens, logout and revocation, with every session store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from scalekit.errors import Unavailable
from scalekit.testing import request
from scalekit_jwt.jws import parse_jws
from scalekit_jwt.session_store.memory import MemorySessionStore
from tests.jwt.harness import service

pytestmark = pytest.mark.anyio
Plugins = Mapping[str, Any]
CONCURRENT = 50


def jti_of(token: str) -> str:
    return str(parse_jws(token.encode()).claims["jti"])


async def test_a_refresh_returns_the_next_pair_with_the_same_claims_and_scopes(plugins: Plugins) -> None:
    async with service(plugins=plugins) as client:
        await client.login("ada", claims={"tenant": "a"}, scopes=["read", "write"])
        before = client.token, client.refresh_token
        response = await client.refresh()
        assert response.status == 200
        assert response.header("cache-control") == "no-store"
        client.store_tokens(response)
        assert client.token not in before
        assert client.refresh_token not in before
        assert orjson.loads((await client.api()).body) == {"user": "ada", "scopes": ["read", "write"]}
        assert parse_jws(client.token.encode()).claims["tenant"] == "a"
        client.store_tokens(await client.refresh())
        assert (await client.api()).status == 200


async def test_concurrent_refreshes_of_one_token_return_one_successor(plugins: Plugins) -> None:
    async with service({"rotation_grace": "1h"}, plugins) as client:
        await client.login("ada")
        responses = await asyncio.gather(*(client.refresh() for _ in range(CONCURRENT)))
        assert [response.status for response in responses] == [200] * CONCURRENT
        assert len({jti_of(orjson.loads(response.body)["refresh_token"]) for response in responses}) == 1
        client.store_tokens(responses[-1])
        client.store_tokens(await client.refresh())
        assert (await client.api()).status == 200, "the session continues"


async def test_a_pair_is_returned_even_when_its_delivery_cannot_be_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with service({"rotation_grace": "0s"}) as client:
        await client.login("ada")
        used = client.refresh_token
        with monkeypatch.context() as patch:
            patch.setattr(MemorySessionStore, "mark_delivered", refuse)
            first = await client.refresh()
        assert first.status == 200
        assert "could not be recorded: the session store is unavailable" in caplog.text
        again = await client.refresh(used)
        assert jti_of(orjson.loads(again.body)["refresh_token"]) == jti_of(orjson.loads(first.body)["refresh_token"])
        client.store_tokens(again)
        client.store_tokens(await client.refresh())
        assert (await client.refresh(used)).status == 401


async def refuse(*_: object) -> None:
    raise Unavailable("the session store is unavailable")


async def test_reuse_of_a_refresh_token_revokes_the_session_for_both_clients(
    plugins: Plugins, caplog: pytest.LogCaptureFixture
) -> None:
    async with service({"rotation_grace": "0s"}, plugins) as client:
        await client.login("ada")
        stolen = client.refresh_token
        thief = client.new_client()
        thief.cookie = client.cookie
        client.store_tokens(await client.refresh())
        with caplog.at_level(logging.WARNING, "scalekit.jwt"):
            assert (await thief.refresh(stolen)).status == 401
        logged = [record.__dict__ for record in caplog.records if "reused" in record.message]
        assert [(each["levelname"], each["event_kind"], each["subject"]) for each in logged] == [
            ("WARNING", "refresh_token_reuse", "ada")
        ]
        assert not [record for record in caplog.records if stolen in str(record.__dict__)]
        assert (await client.refresh()).status == 401
        while (await client.api()).status == 200:
            await asyncio.sleep(0.01)  # the poll runs in the background
        await client.login("ada")
        assert (await client.api()).status == 200, "a new session is valid"


async def test_a_token_older_than_the_predecessor_is_reuse_even_within_the_grace_period(plugins: Plugins) -> None:
    async with service({"rotation_grace": "1h"}, plugins) as client:
        await client.login("ada")
        first = client.refresh_token
        for _ in range(2):
            client.store_tokens(await client.refresh())
        assert (await client.refresh(first)).status == 401
        assert (await client.refresh()).status == 401


async def test_logout_ends_the_session(plugins: Plugins) -> None:
    async with service(plugins=plugins) as client:
        await client.login("ada")
        other = client.new_client()
        await other.login("ada")
        response = await client.logout()
        assert response.status == 204
        assert "Max-Age=0" in str(response.header("set-cookie"))
        assert (await client.refresh()).status == 401
        while (await client.api()).status == 200:
            await asyncio.sleep(0.01)
        assert (await other.api()).status == 200
        assert (await other.refresh()).status == 200


async def test_revoke_all_ends_all_sessions_of_a_subject_and_allows_new_ones(plugins: Plugins) -> None:
    async with service(plugins=plugins) as client:
        others = [client.new_client(), client.new_client()]
        bystander = client.new_client()
        await bystander.login("bob")
        for each in (client, *others):
            await each.login("ada")
            assert (await each.api()).status == 200
        await client.send("/revoke", "POST", {"subject": "ada"})
        for each in (client, *others):
            while (await each.api()).status == 200:
                await asyncio.sleep(0.01)
            assert (await each.refresh()).status == 401
        assert (await bystander.api()).status == 200
        await client.login("ada")
        assert (await client.api()).status == 200


async def test_one_token_is_revoked_by_its_jti(plugins: Plugins) -> None:
    async with service(plugins=plugins) as client:
        await client.login("ada")
        assert (await client.api()).status == 200
        await client.send("/revoke", "POST", {"jti": jti_of(client.token)})
        while (await client.api()).status == 200:
            await asyncio.sleep(0.01)
        client.store_tokens(await client.refresh())
        assert (await client.api()).status == 200


async def test_a_form_body_is_accepted_like_json() -> None:
    async with service() as client:
        await client.login("ada")

        async def post(path: str, body: str) -> int:
            headers = {"cookie": client.cookie, "content-type": "application/x-www-form-urlencoded; charset=utf-8"}
            response = await request(
                client.app, path, method="POST", headers=headers, body=body.encode(), state=client.state
            )
            if response.status == 200:
                client.store_tokens(response)
            return response.status

        assert await post("/auth/refresh", f"refresh_token={client.refresh_token}") == 200
        twice = f"refresh_token={client.refresh_token}&refresh_token={client.refresh_token}"
        assert await post("/auth/refresh", twice) == 401
        assert await post("/auth/logout", f"refresh_token={client.refresh_token}&x=") == 204
        assert await post("/auth/refresh", f"refresh_token={client.refresh_token}") == 401


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"refresh_token": 1}', b'{"refresh_token": "\xc3\xa9"}', b"x" * 20000]
)
async def test_a_body_without_a_token_is_refused(body: bytes) -> None:
    async with service() as client:
        response = await request(client.app, "/auth/refresh", method="POST", body=body, state=client.state)
        assert response.status == 401


async def test_access_and_refresh_tokens_are_not_interchangeable() -> None:
    async with service() as client:
        await client.login("ada")
        assert (await client.refresh(client.token)).status == 401
        client.token = client.refresh_token
        assert (await client.api()).status == 401
