"""What a connection itself answers to what no application gets to see."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from scalekit.http.problem import MEDIA_TYPE, phrase
from scalekit.runner.server.response_head import Header


class RequestRejected(Exception):
    """Stops the parser; the client gets *status* and *detail*."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def error_response(status: int, detail: str, defaults: Iterable[Header]) -> bytes:
    """Return a whole answer, after which the connection ends."""
    body = problem_body(status, detail)
    fields = [
        *defaults,
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    return STATUS_LINE[status] + head + b"\r\n" + body


def problem_body(status: int, detail: str) -> bytes:
    """Return the body of an answer that says *detail*."""
    return orjson.dumps({"type": "about:blank", "title": phrase(status), "status": status, "detail": detail})
