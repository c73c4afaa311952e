"""What an application was told of a request, and what a request was refused with."""

from __future__ import annotations

import json
from typing import TypedDict

from starlette.types import Receive, Scope, Send

from tests.host.runner.server.apps import GET, answer, echo
from tests.host.runner.server.raw_client import serving


async def told(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what the application was told."""
    received, more = b"", True
    while more:
        message = await receive()
        received += message["body"]
        more = message["more_body"]
    seen = {key: repr(scope[key]) for key in ("method", "path", "raw_path", "query_string")}
    fields = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
    await answer(send, json.dumps({**seen, "headers": fields, "body": received.decode()}).encode())


class Seen(TypedDict):
    """What the application was told."""

    path: str
    raw_path: str
    query_string: str
    headers: list[list[str]]
    body: str


async def seen(request: bytes) -> Seen:
    async with serving(told) as wire:
        answered = await wire.ask(request)
    head, _, body = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answered
    found: Seen = json.loads(body)
    return found


async def refused(request: bytes) -> tuple[int, str]:
    """Return what *request* is refused with; a request behind it is not served."""
    served: list[str] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope["path"])
        await echo(scope, receive, send)

    async with serving(noting) as wire:
        answered = await wire.ask(request + GET % b"/smuggled")
    assert "/smuggled" not in served
    head, _, body = answered.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head.lower()
    assert answered.count(b"HTTP/1.1 ") == 1
    content = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % content["status"])
    return content["status"], content["detail"]
