"""The FastAPI dependency RequireToken."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import pytest
from fastapi import Depends, FastAPI

from scalekit_jwt import RequireToken
from scalekit_jwt.user import TokenUser
from tests.jwt.dpop_client import DpopClient
from tests.jwt.harness import login, service

pytestmark = pytest.mark.anyio

fastapi_app = FastAPI()
fastapi_app.add_route("/login", login, methods=["POST"])


@fastapi_app.get("/mine")
async def current_user(user: Annotated[TokenUser, Depends(RequireToken("read"))]) -> dict[str, Any]:
    return {"user": user.identity, "name": user.display_name, "issuer": user.issuer, "tenant": user.claims["tenant"]}


async def test_a_dependency_returns_the_user_or_refuses() -> None:
    async with service(application=fastapi_app) as client:
        response = await client.send("/mine")
        assert (response.status, response.header("www-authenticate")) == (401, 'Bearer realm="api"')
        await client.login("ada", claims={"tenant": "a", "name": "Ada"})
        response = await client.api("/mine")
        assert response.status == 403
        assert 'scope="read"' in str(response.header("www-authenticate"))
        await client.login("ada", claims={"tenant": "a", "name": "Ada"}, scopes=["read"])
        assert orjson.loads((await client.api("/mine")).body) == {
            "user": "ada",
            "name": "Ada",
            "issuer": "scalekit",
            "tenant": "a",
        }


async def test_a_dependency_challenges_for_dpop_when_it_is_required() -> None:
    async with service({"sender_constraint": "dpop"}, application=fastapi_app) as client:
        challenge = str((await client.send("/mine")).header("www-authenticate"))
        assert challenge == 'DPoP realm="api", algs="ES256 EdDSA"'
        holder = DpopClient(client)
        await holder.login("ada", claims={"tenant": "a"}, scopes=["read"])
        assert (await holder.api("/mine")).status == 200
