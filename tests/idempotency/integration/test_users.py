"""Keys of different users do not meet."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.jwt.harness import service

pytestmark = pytest.mark.anyio

KEY = {"idempotency-key": "a"}


async def test_a_key_belongs_to_the_user_of_the_token() -> None:
    async with service({}, {"idempotency": {}}) as ada:
        bob = ada.new_client()
        await ada.login("ada")
        await bob.login("bob")
        for client, name in ((ada, "ada"), (bob, "bob")):
            first, again = [await client.api(method="POST", **KEY) for _ in range(2)]
            assert orjson.loads(first.body)["user"] == name
            assert [each.header("idempotency-replayed") for each in (first, again)] == [None, "true"]
            assert again.body == first.body
        assert (await ada.send("/api/user", "POST", **KEY)).status == 401, "replays need the token too"


async def test_routes_of_plugins_need_no_key() -> None:
    async with service({}, {"idempotency": {"required_paths": ["/**"], "exclude": ["/login"]}}) as ada:
        await ada.login("ada")
        assert (await ada.refresh()).status == 200
        assert (await ada.api(method="POST")).status == 400


async def test_a_reused_refresh_token_ends_its_session_although_the_request_has_a_key(tmp_path: Path) -> None:
    plugins = {"pool": {"url": f"sqlite:///{tmp_path}/shop.db"}, "idempotency": {}}
    async with service({"session_store": "database"}, plugins) as ada:
        await ada.login("ada")
        stolen = ada.refresh_token
        for _ in range(2):  # the first one may be repeated within the grace period
            ada.store_tokens(await ada.refresh())
        assert (await ada.send("/auth/refresh", "POST", {"refresh_token": stolen}, **KEY)).status == 401
        assert (await ada.refresh()).status == 401
