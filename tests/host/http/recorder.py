"""Filters that record their calls and return the decisions of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from scalekit import Decision, Exchange, Filter, LocalResponse, Pending, WebSocketExchange
from tests.host.asgi import respond

Note = tuple[Any, ...]


def decided(decision: Any, *args: Any) -> Any:
    """Return *decision*, or its result when it is a function."""
    return decision(*args) if callable(decision) else decision


class Recorder(Filter):
    """Records each call with its *name*, and returns *decision*, a value or a function of the exchange."""

    def __init__(self, name: str, notes: list[Note], decision: Any = None) -> None:
        self.name = name
        self.notes = notes
        self.decision = decision

    def on_request(self, exchange: Exchange) -> Decision:
        self.notes.append((self.name, "request"))
        decision: Decision = decided(self.decision, exchange)
        return decision

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        self.notes.append((self.name, "open"))
        decision: Decision = decided(self.decision, exchange)
        return decision

    def on_application(self, exchange: Exchange) -> None:
        self.notes.append((self.name, "application"))

    def on_response_start(self, exchange: Exchange) -> None:
        self.notes.append((self.name, "start", exchange.status))

    def on_complete(self, exchange: Exchange, error: BaseException | None) -> None:
        self.notes.append((self.name, "complete", exchange.status, type(error).__name__ if error else ""))

    def on_close(self, exchange: WebSocketExchange, error: BaseException | None) -> None:
        self.notes.append((self.name, "close", exchange.status, exchange.code))


class EarlyRecorder(Recorder):
    """A recorder that runs while decisions are pending."""

    runs_while_pending = True


class PendingDecision:
    """A decision that is pending until :meth:`complete` is called, and then is *then*."""

    def __init__(self, then: Callable[[], Decision] | Decision = None) -> None:
        self.then = then
        self.replies: list[asyncio.Future[Any]] = []

    def __call__(self, exchange: Exchange) -> Pending:
        reply = asyncio.get_running_loop().create_future()
        self.replies.append(reply)
        return Pending(reply, self._decide)

    @property
    def reply(self) -> asyncio.Future[Any]:
        """The latest reply."""
        return self.replies[-1]

    def complete(self) -> None:
        """Complete the reply."""
        self.reply.set_result(None)

    def _decide(self) -> Decision:
        decision: Decision = decided(self.then)
        return decision


def response(status: int = 200, body: bytes = b"local", *headers: tuple[bytes, bytes]) -> LocalResponse:
    """Return a complete response of plain bytes."""
    return LocalResponse(status, [(b"content-length", b"%d" % len(body)), *headers], body, "refused")


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond to every request with ``page``."""
    await respond(send, b"page")


def calls(notes: list[Note], method: str) -> list[str]:
    """Return the names of the filters whose *method* was called, in order."""
    return [note[0] for note in notes if note[1] == method]
