"""Give each request its identity, and write its line."""

from __future__ import annotations

from asyncio import CancelledError
from time import perf_counter, time
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import clear_contextvars

from scalekit.identity import CURRENT, Identity, identity_of
from scalekit.route import RouteTemplates
from scalekit_logging import tail
from scalekit_logging.access import Ending
from scalekit_logging.exchange import CLIENT_LEFT, Exchange
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
        """Log a request or a websocket, pass on everything else."""
        kind = scope["type"]
        if kind != "http" and kind != "websocket":
            await self.app(scope, receive, send)
            return
        identity = identity_of(scope)
        exchange = Exchange(scope, receive, send, identity)
        token = CURRENT.set(identity)
        if isinstance(token.old_value, Identity):  # pipelined: the server began this request within the one before
            clear_contextvars()
        if self.journal.tails is not None:
            tail.CURRENT.set(self.journal.tails.open())
        try:
            await self.app(scope, exchange.receive, exchange.send if kind == "http" else exchange.send_socket)
        except BaseException as error:
            self._end(exchange, error)
            raise
        else:
            self._end(exchange, None)
        finally:
            CURRENT.reset(token)

    def _end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Write the line of *exchange*, and what was kept of it if anybody will want to know."""
        journal = self.journal
        status = exchange.status
        if error is not None or not status or journal.tails is not None or exchange.scope["type"] != "http":
            self._end_carefully(exchange, error)
        elif status >= journal.least_status:
            journal.write_ending(self._ending(exchange, status))

    def _end_carefully(self, exchange: Exchange, error: BaseException | None) -> None:
        journal = self.journal
        status = exchange.status or self._status_without_answer(exchange, error)
        failed = exchange.fails(error)
        revealed = journal.tails is not None and self._close_tail(exchange, failed or status >= 500)
        if error is not None:
            mark_shown(error)
        if failed:
            journal.failure(_event(exchange), self._fields(exchange, status, error), exchange.identity)
        elif status >= journal.least_status or (revealed and journal.config.access):
            if exchange.scope["type"] == "http":
                journal.write_ending(self._ending(exchange, status))
            else:
                journal.ending(_event(exchange), self._fields(exchange, status), exchange.identity, status)

    def _ending(self, exchange: Exchange, status: int) -> Ending:
        scope = exchange.scope
        client = scope.get("client")
        return (
            time(),
            exchange.identity.request_id,
            exchange.identity.trace_id,
            scope["method"],
            exchange.path,
            self.templates.of(scope),
            status,
            (exchange.ended or perf_counter()) - exchange.began,
            exchange.size,
            client[0] if client else "",
            _user_agent(scope),
        )

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
        if scope["type"] == "websocket":
            fields["code"] = exchange.code
        return fields if error is None else {**fields, "exception": exception_text(error)}

    def _close_tail(self, exchange: Exchange, failed: bool) -> bool:
        """Write what was kept of a request that failed or was slow, and tell whether it did."""
        kept, tails = tail.CURRENT.get(), self.journal.tails
        tail.CURRENT.set(None)
        if kept is None or tails is None:
            return False
        slow = exchange.scope["type"] == "http" and exchange.seconds() > tails.slow
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
    return "request" if exchange.scope["type"] == "http" else "websocket"


def _user_agent(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == USER_AGENT:
            found: bytes = value
            return found
    return b""
