"""Errors as ``application/problem+json`` (RFC 9457), for the host and for plugins."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Scope, Send
from starlette.websockets import WebSocket, WebSocketState

MEDIA_TYPE = "application/problem+json"
BODY_HEADERS = frozenset({"content-length", "content-type"})


class ProblemResponse(Response):
    """An error response: *status*, *detail* for people, and extension *members* for programs (RFC 9457)."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        type: str = "about:blank",
        title: str = "",
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        content = {"type": type, "title": title or phrase(status), "status": status}
        if detail:
            content["detail"] = detail
        body = orjson.dumps(content | members, default=str)
        super().__init__(body, status, {"cache-control": "no-store", **(headers or {})})


def phrase(status: int) -> str:
    """Return the standard phrase of *status*."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


async def send_problem(scope: Scope, send: Send, status: int, detail: str, **members: Any) -> None:
    """Send a problem response; reject a websocket with it, or close the websocket when the server cannot send one."""
    await send_problem_response(scope, send, ProblemResponse(status, detail, **members), detail)


async def send_problem_response(scope: Scope, send: Send, response: ProblemResponse, detail: str = "") -> None:
    """Send *response*; reject a websocket with it, or close the websocket when the server cannot send one."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": detail})
    else:
        await response(scope, _receive_nothing, send)


class ProblemError(HTTPException):
    """Ends a handler with *response*, a problem, whichever framework the application uses."""

    def __init__(self, response: ProblemResponse) -> None:
        detail = str(orjson.loads(response.body).get("detail", ""))
        headers = {name: value for name, value in response.headers.items() if name not in BODY_HEADERS}
        super().__init__(response.status_code, detail or None, headers)
        self.response = response


async def on_problem(connection: HTTPConnection, error: Exception) -> Response | None:
    """Return the response of a ProblemError, or None for a websocket: a Starlette exception handler."""
    if not isinstance(error, ProblemError):
        raise error
    problem = error.response
    response = Response(problem.body, problem.status_code, dict(problem.headers))
    if isinstance(connection, WebSocket):
        await _deny(connection, response, error.detail)
        return None
    return response


async def _deny(socket: WebSocket, response: Response, detail: str) -> None:
    if socket.application_state is WebSocketState.CONNECTING and "websocket.http.response" in socket.scope.get(
        "extensions", {}
    ):
        await socket.send_denial_response(response)
    else:
        await socket.close(1008, detail)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Return an HTTPException as a problem response: the exception handler of plugins' routes."""
    if not isinstance(error, HTTPException):
        raise error
    return ProblemResponse(error.status_code, error.detail, headers=dict(error.headers or {}))


async def _receive_nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}
