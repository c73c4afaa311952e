"""Handshakes of new connections and their failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from scalekit_redis.connector import Connector
from scalekit_redis.errors import ReplyError
from scalekit_redis.url import parse_url
from tests.stream_server import stream_server

pytestmark = pytest.mark.anyio
WELCOME = b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"


@asynccontextmanager
async def server(reply: bytes, received: list[bytes], *, closes: bool = False) -> AsyncGenerator[int, None]:
    """Send *reply* to each client after its PING, and append what it sent to *received*."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"PING\r\n"))
        writer.write(reply)
        if not closes:
            await reader.read()
        writer.close()

    async with stream_server(greet) as port:
        yield port


def connector(port: int, user: str = "", database: str = "") -> Connector:
    return Connector(parse_url(f"redis://{user}127.0.0.1:{port}{database}"), ("127.0.0.1", port))


@pytest.mark.parametrize(
    ("user", "database", "replies", "args"),
    [
        ("", "", b"+PONG\r\n", [b"HELLO", b"3", b"PING"]),
        (":hush@", "", b"+PONG\r\n", [b"HELLO", b"3", b"AUTH", b"default", b"hush", b"PING"]),
        ("ann:hush@", "/7", b"+OK\r\n+PONG\r\n", [b"HELLO", b"3", b"AUTH", b"ann", b"hush", b"SELECT", b"7", b"PING"]),
        ("ann@", "", b"+PONG\r\n", [b"HELLO", b"3", b"AUTH", b"ann", b"", b"PING"]),
    ],
)
async def test_protocol_user_and_database_are_sent_in_one_write(
    user: str, database: str, replies: bytes, args: list[bytes]
) -> None:
    received: list[bytes] = []
    async with server(WELCOME + replies, received) as port:
        transport = await connector(port, user, database).open()
        transport.abort()
    lines = received[0].split(b"\r\n")[:-1]
    assert [line for before, line in pairwise(lines) if before.startswith(b"$")] == args


@pytest.mark.parametrize(
    ("reply", "error", "message"),
    [
        (b"-WRONGPASS no such user\r\n-NOAUTH\r\n", ReplyError, "WRONGPASS"),
        (WELCOME + b"-LOADING wait\r\n", ReplyError, "LOADING"),
        (WELCOME + b"+PONG\r\n+PONG\r\n", ConnectionError, "more replies than commands"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ConnectionError, "an invalid reply"),
    ],
)
async def test_a_connection_with_a_failed_handshake_is_not_used(
    reply: bytes, error: type[Exception], message: str
) -> None:
    async with server(reply, []) as port:
        with pytest.raises(error, match=message):
            await connector(port).open()


async def test_a_connection_closed_during_the_handshake_is_reported() -> None:
    async with server(WELCOME, [], closes=True) as port:
        with pytest.raises(ConnectionError, match="the server closed the connection"):
            await connector(port).open()


def test_only_an_error_that_needs_a_changed_configuration_is_permanent() -> None:
    failed = connector(1)
    assert failed.is_permanent(ReplyError("WRONGPASS no such user"))
    assert not failed.is_permanent(ReplyError("ERR max number of clients reached"))
    assert not failed.is_permanent(ReplyError("LOADING wait"))
    assert failed.is_transient(ReplyError("LOADING wait"))
    assert not failed.is_transient(ReplyError("WRONGPASS no such user"))
    assert not failed.is_transient(OSError("LOADING"))
