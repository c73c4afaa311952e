"""FastAPI's dependency, websockets, and the cache that tells users apart."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message

from scalekit_jwt import RequireToken
from scalekit_jwt.user import TokenUser
from tests.jwt.dpop_client import DpopClient
from tests.jwt.harness import JwtClient, login, service

pytestmark = pytest.mark.anyio

fast = FastAPI()
fast.add_route("/login", login, methods=["POST"])


@fast.get("/mine")
async def mine(user: Annotated[TokenUser, Depends(RequireToken("read"))]) -> dict[str, Any]:
    return {"who": user.identity, "name": user.display_name, "issuer": user.issuer, "tenant": user.claims["tenant"]}


async def test_a_dependency_returns_the_user_or_refuses() -> None:
    async with service(application=fast) as client:
        answer = await client.send("/mine")
        assert (answer.status, answer.header("www-authenticate")) == (401, 'Bearer realm="api"')
        await client.login("ada", claims={"tenant": "a", "name": "Ada"})
        answer = await client.api("/mine")
        assert answer.status == 403
        assert 'scope="read"' in str(answer.header("www-authenticate"))
        await client.login("ada", claims={"tenant": "a", "name": "Ada"}, scopes=["read"])
        assert orjson.loads((await client.api("/mine")).body) == {
            "who": "ada",
            "name": "Ada",
            "issuer": "scalekit",
            "tenant": "a",
        }


async def whisper(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return await starlette(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    told = [scope["user"].identity, scope["subprotocols"]]
    await send({"type": "websocket.send", "text": orjson.dumps(told).decode()})
    return None


starlette = Starlette(routes=[Route("/login", login, methods=["POST"])])


async def connect(client: JwtClient, headers: dict[str, str], subprotocols: list[str]) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    fields = {
        "cookie": client.cookie,
        **headers,
        **({"sec-websocket-protocol": ", ".join(subprotocols)} if subprotocols else {}),
    }
    scope = {
        "type": "websocket",
        "path": "/api/ws",
        "raw_path": b"/api/ws",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in fields.items())],
        "subprotocols": subprotocols,
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "ws",
        "root_path": "",
        "state": dict(client.state),
    }
    await client.app(scope, receive, send)
    return sent


async def test_a_websocket_is_accepted_with_a_token_in_the_header_or_as_a_subprotocol() -> None:
    async with service(application=whisper) as client:
        await client.login("ada")
        sent = await connect(client, {"authorization": f"Bearer {client.token}"}, ["chat"])
        assert orjson.loads(sent[1]["text"]) == ["ada", ["chat"]]
        assert sent[0].get("subprotocol") is None
        sent = await connect(client, {}, ["bearer", client.token, "chat"])
        assert orjson.loads(sent[1]["text"]) == ["ada", ["bearer", "chat"]], "the token is hidden from the application"
        assert sent[0]["subprotocol"] == "bearer", "a browser closes a websocket that accepts none of its subprotocols"


async def test_a_websocket_with_a_bound_token_needs_a_proof() -> None:
    async with service({"sender_constraint": "dpop"}, application=whisper) as client:
        holder = DpopClient(client)
        await holder.login("ada")

        def proof() -> str:
            return holder.prover.proof("GET", holder.address("/api/ws").replace("http", "ws"), client.token)

        sent = await connect(client, {"authorization": f"DPoP {client.token}", "dpop": proof()}, [])
        assert orjson.loads(sent[1]["text"]) == ["ada", []]
        used = proof()
        sent = await connect(client, {}, ["dpop", client.token, used, "chat"])
        assert orjson.loads(sent[1]["text"]) == ["ada", ["dpop", "chat"]]
        assert sent[0]["subprotocol"] == "dpop"
        for subprotocols in (["dpop", client.token], ["dpop", client.token, used], ["bearer", client.token, proof()]):
            (message,) = await connect(client, {}, subprotocols)
            assert message["type"] == "websocket.close"


async def test_a_dependency_challenges_for_dpop_when_it_is_required() -> None:
    async with service({"sender_constraint": "dpop"}, application=fast) as client:
        challenge = str((await client.send("/mine")).header("www-authenticate"))
        assert challenge == 'DPoP realm="api", algs="ES256 EdDSA"'
        holder = DpopClient(client)
        await holder.login("ada", claims={"tenant": "a"}, scopes=["read"])
        assert (await holder.api("/mine")).status == 200


async def test_a_websocket_without_a_token_is_closed_before_it_opens() -> None:
    async with service(application=whisper) as client:
        await client.login("ada")
        for subprotocols in ([], ["chat"], ["bearer"], ["bearer", "x.y.z"], ["chat", client.token]):
            (sent,) = await connect(client, {}, subprotocols)
            assert sent["type"] == "websocket.close"
            assert client.token not in str(sent)


async def test_responses_of_users_are_stored_apart() -> None:
    calls = 0

    async def who(request: Request) -> Response:
        nonlocal calls
        calls += 1
        return JSONResponse({"who": request.user.identity})

    cached = Starlette(routes=[Route("/login", login, methods=["POST"]), Route("/api/who", who)])
    policy = {"path": "/api/*", "ttl": "1h", "vary_by": "identity", "cookies": "ignore"}
    async with service(plugins={"cache": {"policies": [policy]}}, application=cached) as client:
        people = [client.another(), client.another()]
        for number, person in enumerate(people):
            await person.login(f"user {number}")
        for _ in range(3):
            for number, person in enumerate(people):
                assert orjson.loads((await person.api()).body) == {"who": f"user {number}"}
        assert calls == 2
        assert (await client.send("/api/who")).status == 401
