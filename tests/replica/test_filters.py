"""Tokens in requests and responses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from scalekit.contracts import CONSISTENCY, CONSISTENCY_TOKENS, DATABASE, READS, Consistency
from scalekit.telemetry import NullTelemetry
from scalekit_replica.filters import consistency_of
from scalekit_replica.metrics import RoutingMetrics
from scalekit_replica.token_codec import TokenCodec, TokenContents
from scalekit_replica.token_issuer import TokenIssuer
from tests.replica.conftest import Cluster
from tests.replica.shop import READ, TABLE, WRITE, Client, shop

pytestmark = pytest.mark.anyio

CODEC = TokenCodec("a" * 32)
TOKENS = TokenIssuer(CODEC, None, 2.0, 60.0, RoutingMetrics(NullTelemetry()))  # type: ignore[arg-type]  # reading uses no database
FAR = 2**32 - 1


def token_of(position: int, until: float = 0.0) -> bytes:
    return CODEC.encode(TokenContents(position, until, FAR)).encode()


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 2**63), st.integers(0, 10**9)), max_size=5))
def test_the_highest_of_several_tokens_counts(tokens: list[tuple[bool, int, int]]) -> None:
    headers = [(b"host", b"shop.example")]
    for in_cookie, position, until in tokens:
        token = token_of(position, until)
        cookie = (b"cookie", b"a=b; scalekit-consistency=" + token + b"; c=d")
        headers.append(cookie if in_cookie else (b"scalekit-consistency", token))
    consistency = consistency_of(headers, TOKENS)
    assert consistency.position == max((position for _, position, _ in tokens), default=0)
    assert consistency.until == max((until for _, _, until in tokens), default=0)
    assert not consistency.wrote


@given(st.lists(st.tuples(st.sampled_from([b"cookie", b"scalekit-consistency", b"other"]), st.binary()), max_size=4))
def test_invalid_headers_are_ignored(headers: list[tuple[bytes, bytes]]) -> None:
    headers += [(b"cookie", b"scalekit-consistency=" + value) for _, value in headers]
    consistency = consistency_of(headers, TOKENS)
    assert (consistency.position, consistency.until) == (0, 0)


def test_a_cookie_with_a_longer_name_is_ignored() -> None:
    headers = [(b"cookie", b"not-scalekit-consistency=" + token_of(7) + b"; a=scalekit-consistency=" + token_of(8))]
    assert consistency_of(headers, TOKENS).position == 0


def test_an_expired_token_is_ignored() -> None:
    assert TOKENS.read(CODEC.encode(TokenContents(7, 0.0, 1))) is None
    read = TOKENS.read(CODEC.encode(TokenContents(7, 0.0, FAR)))
    assert read is not None
    assert read.position == 7


@pytest.fixture
def copies(tmp_path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration of a primary and a replica in SQLite files."""
    (tmp_path / "copy.db").touch()
    return {"url": f"sqlite:///{tmp_path}/shop.db"}, {"urls": [f"sqlite:///{tmp_path}/copy.db"]}


async def test_only_responses_to_requests_that_wrote_have_a_token(copies: Any) -> None:
    async with shop(*copies) as instance:
        await instance.host.context.get(DATABASE).execute(TABLE)
        written = await instance.send("/stock/1?amount=1", "PUT")
        token, cookie = written.header("scalekit-consistency"), written.header("set-cookie")
        assert cookie == f"scalekit-consistency={token}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        read = await instance.send("/stock/1", headers={"scalekit-consistency": token or ""})
        assert read.body == b"1"
        assert read.header("scalekit-consistency") is None
        assert read.header("set-cookie") is None


async def test_the_cookie_of_a_secure_site_is_secure(copies: Any) -> None:
    async with shop(*copies) as instance:
        await instance.host.context.get(DATABASE).execute(TABLE)
        sent: list[Message] = []
        target = "/stock/1"
        scope = {
            "type": "http",
            "method": "PUT",
            "scheme": "https",
            "path": target,
            "raw_path": target.encode(),
            "query_string": b"amount=1",
            "root_path": "",
            "headers": [],
            "client": ("127.0.0.1", 1),
            "state": dict(instance.state),
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await instance.host(scope, receive, send)
        assert dict(sent[0]["headers"])[b"set-cookie"].endswith(b"; Secure")


async def test_a_message_carries_the_token(copies: Any) -> None:
    async with shop(*copies) as instance:
        tokens = instance.host.context.get(CONSISTENCY_TOKENS)
        assert await tokens.issue(Consistency()) == "", "nothing was written"
        consistency = Consistency(position=5)
        consistency.wrote = True
        read = tokens.read(await tokens.issue(consistency))
        assert read is not None
        assert (read.position, round(read.until, 3)) == (5, round(consistency.until, 3))
        assert not consistency.wrote
        assert tokens.read("forged") is None


@pytest.mark.needs("postgres")
async def test_writes_of_a_websocket_are_resolved_before_its_next_message(slow_cluster: Cluster) -> None:
    seen: list[tuple[Any, bool]] = []

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        async for amount in websocket.iter_text():
            await DATABASE(websocket).execute(WRITE, {"id": 1, "amount": int(amount)})
            await websocket.receive_text()
            consistency = CONSISTENCY.get()
            value = await READS(websocket).fetch_val(READ, {"id": 1})
            seen.append((value, consistency is not None and consistency.wrote))

    pool, replica = {"url": slow_cluster.primary.url}, {"urls": slow_cluster.urls}
    async with shop(pool, replica, [WebSocketRoute("/talk", talk)]) as instance:
        messages: list[Message] = [{"type": "websocket.connect"}]
        messages += [{"type": "websocket.receive", "text": text} for text in ("1", "read", "2", "read")]
        messages += [{"type": "websocket.disconnect", "code": 1000}]
        scope = {
            "type": "websocket",
            "path": "/talk",
            "headers": [],
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "state": dict(instance.state),
        }

        async def receive() -> Message:
            return messages.pop(0)

        async def send(message: Message) -> None:
            """Record the messages of the application."""

        await instance.host(scope, receive, send)
        assert seen == [(1, False), (2, False)]
        assert (await instance.metric("fallbacks_total"))["behind"] == 2


async def test_the_shop_client_sends_its_token_back(copies: Any) -> None:
    async with shop(*copies) as instance:
        await instance.host.context.get(DATABASE).execute(TABLE)
        for cookies, header in ((True, "cookie"), (False, "scalekit-consistency")):
            client = Client([instance], cookies)
            await client.write(1, 1)
            assert list(client.headers) == [header]
