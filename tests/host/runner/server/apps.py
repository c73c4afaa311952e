"""Requests and small applications for the tests of a connection."""

from __future__ import annotations

from starlette.types import Message, Receive, Scope, Send

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def respond(send: Send, data: bytes) -> None:
    await send(start((b"Content-Length", b"%d" % len(data))))
    await send(body(data))


async def chunks(scope: Scope, receive: Receive, send: Send) -> None:
    await send(start())
    await send(body(b"one", more=True))
    await send(body(b"", more=True))
    await send(body(b"two", more=True))
    await send(body())


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    received, more = b"", True
    while more:
        message = await receive()
        received += message["body"]
        more = message["more_body"]
    await respond(send, received)


async def paths(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, scope["path"].encode())
