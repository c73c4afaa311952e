"""Give each request its identity, and write its line."""

from __future__ import annotations

from asyncio import CancelledError
from time import time
from typing import Any

from starlette.types import Scope
from structlog.contextvars import clear_contextvars

from scalekit.exchange import Exchange, Observer, Socket
from scalekit_logging import tail
from scalekit_logging.journal import Journal
from scalekit_logging.records import exception_text, mark_shown
from scalekit_logging.tail import Tail

CLIENT_LEFT = 499
"""The status, nginx's, of a request whose client did not wait for the answer."""
USER_AGENT = b"user-agent"


class LoggingObserver(Observer):
    """Lets requests be served under their identity, and writes to *journal* how each one ended."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._tails: dict[Exchange, Tail] = {}

    def begin(self, exchange: Exchange) -> None:
        """Let every line that is logged from here on show the identity, and keep details if they may be wanted."""
        if exchange.identify():  # within another request, whose fields are not this one's
            clear_contextvars()
        if self.journal.tails is not None:
            kept = self._tails[exchange] = self.journal.tails.open()
            tail.CURRENT.set(kept)

    def end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Write the line of a request; of what is here, every request pays for the first lines."""
        journal = self.journal
        if error is not None or not exchange.status or journal.tails is not None:
            self._end(exchange, error)
            return
        status = CLIENT_LEFT if exchange.late else exchange.status
        if status < journal.least_status:
            return
        scope, identity = exchange.scope, exchange.identity
        client = scope.get("client")
        ending = (
            time(),
            identity.request_id,
            identity.trace_id,
            scope["method"],
            exchange.path,
            exchange.route,
            status,
            exchange.seconds,
            exchange.sent,
            client[0] if client else "",
            _user_agent(scope),
            identity.calls,
        )
        journal.write_ending(ending)

    def open(self, socket: Socket) -> None:
        """Do the same for a websocket."""
        self.begin(socket)

    def close(self, socket: Socket, error: BaseException | None) -> None:
        """Write the line of a websocket."""
        self._end(socket, error)

    def _end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Write how *exchange* ended, and what was kept of it if anybody will want to know."""
        journal = self.journal
        failed = _fails(exchange, error)
        status = self._status(exchange, error, failed)
        revealed = self._close_tail(exchange, failed or status >= 500)
        if error is not None:
            mark_shown(error)
        if failed:
            journal.failure(_event(exchange), _fields(exchange, status, error), exchange.identity)
        elif status >= journal.least_status or (revealed and journal.config.access):
            journal.ending(_event(exchange), _fields(exchange, status), exchange.identity, status)

    def _status(self, exchange: Exchange, error: BaseException | None, failed: bool) -> int:
        """Return what was answered: by the server or the host, where the application did not."""
        if exchange.status:
            return CLIENT_LEFT if exchange.late else exchange.status
        if exchange.left and not failed:
            return CLIENT_LEFT
        if isinstance(error, CancelledError):
            return 503 if self.journal.draining else CLIENT_LEFT
        return 500

    def _close_tail(self, exchange: Exchange, failed: bool) -> bool:
        """Write what was kept of a request that failed or was slow, and tell whether it did."""
        kept, tails = self._tails.pop(exchange, None), self.journal.tails
        if kept is None or tails is None:
            return False
        tail.CURRENT.set(None)
        slow = not isinstance(exchange, Socket) and exchange.seconds > tails.slow
        if failed or slow:
            self.journal.reveal(kept, exchange.identity)
        else:
            kept.close()
        return failed or slow


def _fields(exchange: Exchange, status: int, error: BaseException | None = None) -> dict[str, Any]:
    scope = exchange.scope
    client = scope.get("client")
    fields: dict[str, Any] = {
        "method": scope.get("method", "GET"),
        "path": exchange.path,
        "route": exchange.route,
        "status": status,
        "duration_ms": round(exchange.seconds * 1000, 3),
        "bytes": exchange.sent,
        "client": client[0] if client else "",
        "user_agent": _user_agent(scope).decode("latin-1"),
    }
    if exchange.identity.calls:
        fields["calls"] = exchange.identity.calls
    if isinstance(exchange, Socket):
        fields["code"] = exchange.code
    return fields if error is None else {**fields, "exception": exception_text(error)}


def _fails(exchange: Exchange, error: BaseException | None) -> bool:
    """Tell whether *error* is a mistake, and not only the news that the client left or the request was cut."""
    if error is None or isinstance(error, CancelledError):
        return False
    return not (exchange.left and (isinstance(error, OSError) or "Disconnect" in type(error).__name__))


def _event(exchange: Exchange) -> str:
    return "websocket" if isinstance(exchange, Socket) else "request"


def _user_agent(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == USER_AGENT:
            found: bytes = value
            return found
    return b""
