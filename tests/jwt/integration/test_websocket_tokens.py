"""Tokens of websockets, in the header or as subprotocols."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import Message

from tests.jwt.dpop_client import DpopClient
from tests.jwt.harness import JwtClient, login, service

pytestmark = pytest.mark.anyio


async def websocket_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return await http_app(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    greeting = [scope["user"].identity, scope["subprotocols"]]
    await send({"type": "websocket.send", "text": orjson.dumps(greeting).decode()})
    return None


http_app = Starlette(routes=[Route("/login", login, methods=["POST"])])


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
    async with service(application=websocket_app) as client:
        await client.login("ada")
        sent = await connect(client, {"authorization": f"Bearer {client.token}"}, ["chat"])
        assert orjson.loads(sent[1]["text"]) == ["ada", ["chat"]]
        assert sent[0].get("subprotocol") is None
        sent = await connect(client, {}, ["bearer", client.token, "chat"])
        assert orjson.loads(sent[1]["text"]) == ["ada", ["bearer", "chat"]], "the token is hidden from the application"
        assert sent[0]["subprotocol"] == "bearer", "a browser closes a websocket that accepts none of its subprotocols"


async def test_a_websocket_with_a_bound_token_needs_a_proof() -> None:
    async with service({"sender_constraint": "dpop"}, application=websocket_app) as client:
        holder = DpopClient(client)
        await holder.login("ada")

        def proof() -> str:
            return holder.prover.proof("GET", holder.url("/api/ws").replace("http", "ws"), client.token)

        sent = await connect(client, {"authorization": f"DPoP {client.token}", "dpop": proof()}, [])
        assert orjson.loads(sent[1]["text"]) == ["ada", []]
        used = proof()
        sent = await connect(client, {}, ["dpop", client.token, used, "chat"])
        assert orjson.loads(sent[1]["text"]) == ["ada", ["dpop", "chat"]]
        assert sent[0]["subprotocol"] == "dpop"
        for subprotocols in (["dpop", client.token], ["dpop", client.token, used], ["bearer", client.token, proof()]):
            (message,) = await connect(client, {}, subprotocols)
            assert message["type"] == "websocket.close"


async def test_a_websocket_without_a_token_is_closed_before_it_opens() -> None:
    async with service(application=websocket_app) as client:
        await client.login("ada")
        for subprotocols in ([], ["chat"], ["bearer"], ["bearer", "x.y.z"], ["chat", client.token]):
            (sent,) = await connect(client, {}, subprotocols)
            assert sent["type"] == "websocket.close"
            assert client.token not in str(sent)
