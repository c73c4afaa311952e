"""A complete response that a filter gives in place of the application."""

from __future__ import annotations

from typing import Any

from scalekit.http.problem import ProblemResponse

Header = tuple[bytes, bytes]


class LocalResponse:
    """*status*, *headers* with a Content-Length among them, and *body*; the list of headers is not changed.

    One that is sent again and again is encoded once: ``encoded`` is what a server remembers of it, None until it is
    sent. A websocket whose server cannot send it is closed with *detail* as the reason.
    """

    __slots__ = ("body", "detail", "encoded", "headers", "status")

    def __init__(self, status: int, headers: list[Header], body: bytes, detail: str = "") -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.detail = detail
        self.encoded: Any = None


def local_response(response: ProblemResponse, detail: str = "") -> LocalResponse:
    """Return *response* for a filter to give."""
    return LocalResponse(response.status_code, response.raw_headers, bytes(response.body), detail)


def local_problem(status: int, detail: str, **members: Any) -> LocalResponse:
    """Return a problem (RFC 9457) with *status* and *detail*; *members* are those of ProblemResponse."""
    return local_response(ProblemResponse(status, detail, **members), detail)
