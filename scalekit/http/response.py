"""Local responses: complete responses that a filter returns instead of the application."""

from __future__ import annotations

from typing import Any

from scalekit.http.problem import ProblemResponse

Header = tuple[bytes, bytes]


class LocalResponse:
    """A complete response; *headers* include Content-Length and are not modified.

    A response that is sent repeatedly is encoded once: ``encoded`` is the server's memo, None until it is sent. When a
    server cannot send it to a websocket, it closes the websocket with the reason *detail*.
    """

    __slots__ = ("body", "detail", "encoded", "headers", "status")

    def __init__(self, status: int, headers: list[Header], body: bytes, detail: str = "") -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.detail = detail
        self.encoded: Any = None


def local_response(response: ProblemResponse, detail: str = "") -> LocalResponse:
    """Return *response* as a local response."""
    return LocalResponse(response.status_code, response.raw_headers, bytes(response.body), detail)


def local_problem(status: int, detail: str, **members: Any) -> LocalResponse:
    """Return a problem (RFC 9457) with *status*, *detail* and the *members* of ProblemResponse."""
    return local_response(ProblemResponse(status, detail, **members), detail)
