"""Error responses of the connection itself, for requests that do not reach the host."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from scalekit.http.problem import MEDIA_TYPE, phrase
from scalekit.runner.server.response_head import Header


class RequestRejected(Exception):
    """Stops parsing; the client receives *status* and *detail*."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def error_response(status: int, detail: str, defaults: Iterable[Header]) -> bytes:
    """Return a complete response with ``Connection: close``."""
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
    """Return the body of a problem+json response (RFC 9457)."""
    return orjson.dumps({"type": "about:blank", "title": phrase(status), "status": status, "detail": detail})
