"""Filters that write down when they are called, and decide as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from scalekit import Decision, Exchange, Filter, LocalResponse, Pending, WebSocketExchange
from tests.host.asgi import respond

Note = tuple[Any, ...]


def decided(decision: Any, *args: Any) -> Any:
    """Return *decision*, or what it returns where it is a function."""
    return decision(*args) if callable(decision) else decision


class Recorder(Filter):
    """Notes each call under its *name*, and decides what *decision*, a value or a function of the exchange, says."""

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


class Looking(Recorder):
    """One that is asked while decisions are pending."""

    runs_while_pending = True


class Asker:
    """Decides on nothing until :meth:`answer` is called; *then* is what it decides."""

    def __init__(self, then: Callable[[], Decision] | Decision = None) -> None:
        self.then = then
        self.replies: list[asyncio.Future[Any]] = []

    def __call__(self, exchange: Exchange) -> Pending:
        reply = asyncio.get_running_loop().create_future()
        self.replies.append(reply)
        return Pending(reply, self._decide)

    @property
    def reply(self) -> asyncio.Future[Any]:
        """The reply that was asked for last."""
        return self.replies[-1]

    def answer(self) -> None:
        """Let the reply be there."""
        self.reply.set_result(None)

    def _decide(self) -> Decision:
        decision: Decision = decided(self.then)
        return decision


def response(status: int = 200, body: bytes = b"local", *headers: tuple[bytes, bytes]) -> LocalResponse:
    """Return a complete response of plain bytes."""
    return LocalResponse(status, [(b"content-length", b"%d" % len(body)), *headers], body, "refused")


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond to every request alike."""
    await respond(send, b"page")


def calls(notes: list[Note], what: str) -> list[str]:
    """Return the names of those that were called for *what*, in order."""
    return [note[0] for note in notes if note[1] == what]
