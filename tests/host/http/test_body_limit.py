from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from starlette.types import Receive, Scope, Send

from scalekit.config import Size
from scalekit.http.body_limit import BodyLimit
from tests.host.asgi import Conversation, behind, echo_length, http_scope, respond

pytestmark = pytest.mark.anyio

CHUNKED = [(b"transfer-encoding", b"chunked")]
LIMIT = Size(10)


def declared(length: int | str) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", str(length).encode())]


async def test_a_body_within_the_limit_is_unchanged() -> None:
    client = Conversation()
    client.chunk(b"12345", more=True)
    client.chunk(b"67890")
    await client.run(behind(echo_length, BodyLimit(LIMIT, 1)), http_scope(headers=CHUNKED))
    assert client.body == b"10"


async def test_a_body_declared_too_large_is_rejected_before_the_application() -> None:
    client = Conversation()
    await client.run(behind(echo_length, BodyLimit(LIMIT, 1)), http_scope(headers=declared(11)))
    assert client.status == 413
    assert orjson.loads(client.body)["detail"] == "the body is larger than 10B"


@pytest.mark.parametrize("length", ["9" * 5000, "1" * 19])
async def test_a_very_long_content_length_is_too_large(length: str) -> None:
    client = Conversation()
    await client.run(behind(echo_length, BodyLimit(LIMIT, 1)), http_scope(headers=declared(length)))
    assert client.status == 413


@pytest.mark.parametrize("length", ["", "-1", "1x", "+5", "1 2", "0x10"])
async def test_a_content_length_that_is_not_a_number_is_rejected(length: str) -> None:
    client = Conversation()
    await client.run(behind(echo_length, BodyLimit(LIMIT, 1)), http_scope(headers=declared(length)))
    assert client.status == 400


async def test_a_streamed_body_is_rejected_as_soon_as_it_is_too_large() -> None:
    client = Conversation()
    client.chunk(b"123456", more=True)
    client.chunk(b"123456", more=True)  # without an end: the response does not wait for it
    await client.run(behind(echo_length, BodyLimit(LIMIT, 1)), http_scope(headers=CHUNKED))
    assert client.status == 413
    assert [message["type"] for message in client.sent] == ["http.response.start", "http.response.body"]


async def test_http_2_bodies_need_no_header_to_be_counted() -> None:
    client = Conversation()
    client.chunk(b"12345678901")
    await client.run(behind(echo_length, BodyLimit(LIMIT, 1)), http_scope(http_version="2"))
    assert client.status == 413


async def test_the_applications_response_after_a_rejection_is_dropped() -> None:
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        assert (await receive())["type"] == "http.disconnect"
        await respond(send, b"never mind", 500)

    client = Conversation()
    client.chunk(b"12345678901", more=True)
    await client.run(behind(stubborn, BodyLimit(LIMIT, 1)), http_scope(headers=CHUNKED))
    assert [message.get("status") for message in client.sent] == [413, None]


async def test_a_body_that_exceeds_the_limit_after_the_response_started_truncates_it() -> None:
    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] == "http.request":
            await send({"type": "http.response.body", "body": message["body"], "more_body": message["more_body"]})

    client = Conversation()
    client.chunk(b"12345", more=True)
    client.chunk(b"67890x", more=True)
    await client.run(behind(echo, BodyLimit(LIMIT, 1)), http_scope(headers=CHUNKED))
    assert client.body == b"12345"
    assert client.sent[-1]["more_body"] is True, "the server is left to cut the connection"


async def test_a_body_that_does_not_arrive_is_rejected_after_the_timeout() -> None:
    client = Conversation()
    async with asyncio.timeout(60):
        await client.run(behind(echo_length, BodyLimit(LIMIT, 0.01)), http_scope(headers=declared(5)))
    assert client.status == 408


async def test_a_trickle_does_not_extend_the_timeout() -> None:
    client = Conversation()

    async def trickle() -> None:
        while True:
            client.chunk(b"x", more=True)
            await asyncio.sleep(0.005)

    dripping = asyncio.create_task(trickle())
    async with asyncio.timeout(60):
        await client.run(behind(echo_length, BodyLimit(Size("1MiB"), 0.05)), http_scope(headers=CHUNKED))
    dripping.cancel()
    assert client.status == 408


async def test_only_time_spent_in_receive_counts() -> None:
    async def slow_reader(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(5):
            await asyncio.sleep(0.03)
            await receive()
        await respond(send)

    client = Conversation()
    for _ in range(5):
        client.chunk(b"x", more=True)
    await client.run(behind(slow_reader, BodyLimit(LIMIT, 0.1)), http_scope(headers=CHUNKED))
    assert client.status == 200


async def test_received_bytes_extend_the_timeout() -> None:
    """At 1 KiB/s, 100 KiB that have arrived extend the timeout by far more than the wait that follows."""
    client = Conversation()
    client.chunk(b"x" * 102400, more=True)
    running = asyncio.create_task(
        client.run(behind(echo_length, BodyLimit(Size("1MiB"), 0.01)), http_scope(headers=CHUNKED))
    )
    await asyncio.sleep(0.1)
    client.chunk(b"end")
    await running
    assert client.status == 200


async def test_waiting_for_a_disconnect_after_the_body_is_not_limited() -> None:
    async def long_poll(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    client = Conversation()
    client.chunk(b"x")
    running = asyncio.create_task(
        client.run(behind(long_poll, BodyLimit(LIMIT, 0.01)), http_scope(headers=declared(1)))
    )
    await asyncio.sleep(0.05)
    assert client.sent == []
    client.leave()
    await running


async def test_an_error_of_the_application_is_raised() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise KeyError("mine")

    client = Conversation()
    client.chunk(b"x")
    with pytest.raises(KeyError):
        await client.run(behind(broken, BodyLimit(LIMIT, 1)), http_scope(headers=declared(1)))


async def test_a_request_without_a_body_is_not_wrapped() -> None:
    received: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Any = receive.__self__  # type: ignore[attr-defined]
        received.append(exchange.client_receive.__qualname__)

    client = Conversation()
    limited = behind(app, BodyLimit(LIMIT, 1))
    await client.run(limited, http_scope())
    await client.run(limited, http_scope(headers=declared(1)))
    assert received == ["Queue.get", "_WatchedBody.receive"]
