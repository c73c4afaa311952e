"""The request that an application received, and the error with which a request was rejected."""

from __future__ import annotations

import json
from typing import TypedDict

from starlette.types import Receive, Scope, Send

from tests.host.runner.server.apps import GET, echo, respond
from tests.host.runner.server.raw_client import serving


async def echo_request(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with the received request as JSON."""
    received, more = b"", True
    while more:
        message = await receive()
        received += message["body"]
        more = message["more_body"]
    received_request = {key: repr(scope[key]) for key in ("method", "path", "raw_path", "query_string")}
    fields = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
    await respond(send, json.dumps({**received_request, "headers": fields, "body": received.decode()}).encode())


class ReceivedRequest(TypedDict):
    """A request as the application received it."""

    path: str
    raw_path: str
    query_string: str
    headers: list[list[str]]
    body: str


async def received_request(request: bytes) -> ReceivedRequest:
    async with serving(echo_request) as wire:
        response_bytes = await wire.request(request)
    head, _, body = response_bytes.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), response_bytes
    found: ReceivedRequest = json.loads(body)
    return found


async def rejection(request: bytes) -> tuple[int, str]:
    """Return status and detail with which *request* is rejected; a pipelined request is not served."""
    served: list[str] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope["path"])
        await echo(scope, receive, send)

    async with serving(noting) as wire:
        response_bytes = await wire.request(request + GET % b"/smuggled")
    assert "/smuggled" not in served
    head, _, body = response_bytes.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head.lower()
    assert response_bytes.count(b"HTTP/1.1 ") == 1
    content = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % content["status"])
    return content["status"], content["detail"]
