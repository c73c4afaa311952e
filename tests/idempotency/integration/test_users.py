"""Keys of different users do not meet."""

from __future__ import annotations

import orjson
import pytest

from tests.jwt.harness import service

pytestmark = pytest.mark.anyio

KEY = {"idempotency-key": "a"}


async def test_a_key_belongs_to_the_user_of_the_token() -> None:
    async with service({}, {"idempotency": {"exclude": ["/login"]}}) as ada:
        bob = ada.new_client()
        await ada.login("ada")
        await bob.login("bob")
        for client, name in ((ada, "ada"), (bob, "bob")):
            first, again = [await client.api(method="POST", **KEY) for _ in range(2)]
            assert orjson.loads(first.body)["user"] == name
            assert [each.header("idempotency-replayed") for each in (first, again)] == [None, "true"]
            assert again.body == first.body
        assert (await ada.send("/api/user", "POST", **KEY)).status == 401, "replays need the token too"
