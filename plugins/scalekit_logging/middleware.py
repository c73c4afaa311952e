"""Give each request its identity, and write its line."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable
from contextvars import Token
from time import perf_counter, time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import clear_contextvars

from scalekit.identity import CURRENT, Identity, identity_of
from scalekit.route import RouteTemplates
from scalekit_logging import tail
from scalekit_logging.access import Ending
from scalekit_logging.exchange import CLIENT_LEFT, Exchange, Socket, named
from scalekit_logging.journal import Journal
from scalekit_logging.records import exception_text, mark_shown

USER_AGENT = b"user-agent"


class LoggingMiddleware:
    """Serve requests under their identity, and write to *journal* how each one ended."""

    def __init__(self, app: ASGIApp, journal: Journal) -> None:
        self.app = app
        self.journal = journal
        self.templates = RouteTemplates(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Log a request or a websocket, pass on everything else; what is in line here, every request pays for."""
        if scope["type"] != "http":
            await self._serve_other(scope, receive, send)
            return
        began = perf_counter()
        path = scope["path"]  # the application may write another one into the scope
        identity = identity_of(scope)
        left = False
        status = size = 0
        ended = 0.0

        async def listened() -> Message:
            nonlocal left
            message = await receive()
            left = left or message["type"] == "http.disconnect"
            return message

        def watched(message: Message) -> Awaitable[None]:
            nonlocal status, size, ended
            if message["type"] == "http.response.body":
                size += len(message.get("body", b""))
                if not message.get("more_body"):
                    ended = perf_counter()
            elif message["type"] == "http.response.start":
                status = CLIENT_LEFT if left else message["status"]
                message = named(message, identity)
            return send(message)

        journal = self.journal
        token = self._enter(identity)
        error: BaseException | None = None
        try:
            await self.app(scope, listened, watched)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if error is None and status and journal.tails is None:
                if status >= journal.least_status:
                    seconds = (ended or perf_counter()) - began
                    journal.write_ending(self._ending(scope, path, identity, status, size, seconds))
            else:
                exchange = Exchange(scope, path, identity, began)
                exchange.ended, exchange.status, exchange.size, exchange.left = ended, status, size, left
                self._end(exchange, error)
            error = None  # else the exception and this frame keep each other
            CURRENT.reset(token)

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        socket = Socket(scope, receive, send, identity_of(scope))
        token = self._enter(socket.identity)
        try:
            await self.app(scope, socket.receive, socket.send)
        except BaseException as error:
            self._end(socket, error)
            raise
        else:
            self._end(socket, None)
        finally:
            CURRENT.reset(token)

    def _enter(self, identity: Identity) -> Token[Identity | None]:
        """Let every line that is logged from here on show *identity*."""
        token = CURRENT.set(identity)
        if isinstance(token.old_value, Identity):  # pipelined: the server began this request within the one before
            clear_contextvars()
        if self.journal.tails is not None:
            tail.CURRENT.set(self.journal.tails.open())
        return token

    def _ending(self, scope: Scope, path: str, identity: Identity, status: int, size: int, seconds: float) -> Ending:
        route = self.templates.known.get(id(scope.get("endpoint")))
        client = scope.get("client")
        return (
            time(),
            identity.request_id,
            identity.trace_id,
            scope["method"],
            path,
            self.templates.of(scope) if route is None else route,
            status,
            seconds,
            size,
            client[0] if client else "",
            _user_agent(scope),
        )

    def _end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Write how *exchange* ended, and what was kept of it if anybody will want to know."""
        journal = self.journal
        status = exchange.status or self._status_without_answer(exchange, error)
        failed = exchange.fails(error)
        revealed = journal.tails is not None and self._close_tail(exchange, failed or status >= 500)
        if error is not None:
            mark_shown(error)
        if failed:
            journal.failure(_event(exchange), self._fields(exchange, status, error), exchange.identity)
        elif status >= journal.least_status or (revealed and journal.config.access):
            journal.ending(_event(exchange), self._fields(exchange, status), exchange.identity, status)

    def _fields(self, exchange: Exchange, status: int, error: BaseException | None = None) -> dict[str, Any]:
        scope = exchange.scope
        client = scope.get("client")
        fields = {
            "method": scope.get("method", "GET"),
            "path": exchange.path,
            "route": self.templates.of(scope),
            "status": status,
            "duration_ms": round(exchange.seconds() * 1000, 3),
            "bytes": exchange.size,
            "client": client[0] if client else "",
            "user_agent": _user_agent(scope).decode("latin-1"),
        }
        if isinstance(exchange, Socket):
            fields["code"] = exchange.code
        return fields if error is None else {**fields, "exception": exception_text(error)}

    def _close_tail(self, exchange: Exchange, failed: bool) -> bool:
        """Write what was kept of a request that failed or was slow, and tell whether it did."""
        kept, tails = tail.CURRENT.get(), self.journal.tails
        tail.CURRENT.set(None)
        if kept is None or tails is None:
            return False
        slow = not isinstance(exchange, Socket) and exchange.seconds() > tails.slow
        if failed or slow:
            self.journal.reveal(kept, exchange.identity)
        else:
            kept.close()
        return failed or slow

    def _status_without_answer(self, exchange: Exchange, error: BaseException | None) -> int:
        """Return what the server or the host answers, since the application did not."""
        if exchange.left and not exchange.fails(error):
            return CLIENT_LEFT
        if isinstance(error, CancelledError):
            return 503 if self.journal.draining else CLIENT_LEFT
        return 500


def _event(exchange: Exchange) -> str:
    return "websocket" if isinstance(exchange, Socket) else "request"


def _user_agent(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == USER_AGENT:
            found: bytes = value
            return found
    return b""
