"""What passes between the server and the application for one request or websocket, and who is told of it.

One record looks at the messages on their way. Whoever wants to know how a request went reads it at the end, instead of
standing in the way with a middleware of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.identity import CURRENT, REQUEST_ID, TRACEPARENT, Identity, identity_of
from scalekit.route import RouteTemplates

Field = tuple[bytes, bytes]

SWITCHED = 101
"""The status of a websocket that was accepted."""
REJECTED = 403
"""What servers answer when a websocket is closed before it was accepted."""

_LENGTH = len(REQUEST_ID)
_INITIALS = b"xX"


class Exchange:
    """A request and its answer, as far as they have passed.

    ``status`` is 0 until an answer begins. The rest is there once somebody observes: ``path`` is that of the request,
    before the application could write another one into ``scope``; ``late`` tells whether the client had left when the
    answer began, and ``left`` whether it has by now; ``sent`` and ``received`` are bytes of bodies. At the end
    ``seconds`` says how long it took until the answer was complete, and ``route`` is the template of the route. The
    ``identity`` is there for who has called :meth:`identify`; ``fields`` are headers that the answer gets on its way.
    """

    __slots__ = (
        "_began",
        "_complete",
        "_identified",
        "_outer",
        "_receive",
        "_send",
        "fields",
        "identity",
        "late",
        "left",
        "path",
        "received",
        "route",
        "scope",
        "seconds",
        "sent",
        "status",
        "told",
    )

    scope: Scope
    path: str
    route: str
    _began: float
    _complete: float
    seconds: float
    identity: Identity
    _identified: bool
    _outer: Identity | None
    late: bool
    left: bool
    sent: int
    received: int
    _receive: Receive

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.told: Told | None = None
        self.fields: tuple[Field, ...] = ()

    def pass_on(self, message: Message) -> Awaitable[None]:
        """Pass on what goes to the client, as long as nobody observes."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.fields:
                message = with_fields(message, self.fields)
        return self._send(message)

    def begin(self, scope: Scope, receive: Receive, told: Told) -> None:
        """Record what passes from here on, and tell of it."""
        self._began = perf_counter()
        self.told = told
        self.scope = scope
        self.path = scope["path"]
        self._receive = receive
        self._identified = False
        self._complete = 0.0
        self.late = self.left = False
        self.sent = self.received = 0
        for begin in told.begin:
            begin(self)

    def end(self, error: BaseException | None) -> None:
        """Tell that the application is done; *error* is what came out of it."""
        told = self.told
        if told is None:
            return
        self.seconds = (self._complete or perf_counter()) - self._began
        route = told.templates.known.get(id(self.scope.get("endpoint")))
        self.route = told.templates.of(self.scope) if route is None else route
        for end in told.end:
            end(self, error)
        if self._identified:
            CURRENT.set(self._outer)

    def identify(self) -> bool:
        """Put the request's id into the answer, and let its ``identity`` be the current one until the end.

        Return whether another was: a server may begin a pipelined request within the one before.
        """
        self._outer = CURRENT.get()
        self.identity = identity_of(self.scope)
        CURRENT.set(self.identity)
        self._identified = True
        return self._outer is not None

    def is_traced(self) -> bool:
        """Tell whether the request may belong to a trace of the caller's; no identity is made to find out."""
        if self._identified:
            return bool(self.identity.parent_id)
        for name, _ in self.scope["headers"]:  # noqa: SIM110 - a generator costs more than the headers
            if name == TRACEPARENT:
                return True
        return False

    def send(self, message: Message) -> Awaitable[None]:
        """Pass on what goes to the client."""
        kind = message["type"]
        if kind == "http.response.body":
            self.sent += len(message.get("body", b""))
            if not message.get("more_body"):
                self._complete = perf_counter()
        elif kind == "http.response.start":
            self.status = message["status"]
            self.late = self.left
            if self._identified:
                message = named(message, self.identity, self.fields)
            elif self.fields:
                message = with_fields(message, self.fields)
        return self._send(message)

    async def receive(self) -> Message:
        """Pass on what comes from the client."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.left = True
        else:
            self.received += len(message.get("body", b""))
        return message


class Socket(Exchange):
    """A websocket. ``status`` is how its opening was answered, ``code`` how it was closed, ``sent`` what was sent."""

    __slots__ = ("code",)

    def __init__(self, send: Send) -> None:
        super().__init__(send)
        self.code = 0

    def send(self, message: Message) -> Awaitable[None]:
        """Pass on what goes to the client."""
        kind = message["type"]
        if kind == "websocket.send":
            self.sent += len(message.get("bytes") or (message.get("text") or "").encode("utf-8", "replace"))
        elif kind in ("websocket.accept", "websocket.http.response.start"):
            self.status = message.get("status", SWITCHED)
            if self._identified:
                message = named(message, self.identity, ())
        elif kind == "websocket.close":
            self.status = self.status or REJECTED
            self.code = message.get("code", 1000)
        return self._send(message)

    async def receive(self) -> Message:
        """Pass on what comes from the client."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.left = True
            self.code = self.code or message.get("code", 1005)
        return message


class Observer:
    """Is told of each request and each websocket; what a subclass leaves out costs nothing.

    Nothing is awaited here, and every request waits for what is done here.
    """

    def begin(self, exchange: Exchange) -> None:
        """Be told of a request before the application is."""

    def end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Be told how it went; *error* is what came out of the application."""

    def open(self, socket: Socket) -> None:
        """Be told of a websocket before the application is."""

    def close(self, socket: Socket, error: BaseException | None) -> None:
        """Be told how it went; *error* is what came out of the application."""


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told of the beginnings and the ends of one kind of exchange, and what knows their routes."""

    begin: Sequence[Callable[[Any], None]]
    end: Sequence[Callable[[Any, BaseException | None], None]]
    templates: RouteTemplates


class Observing:
    """Serve with *app* and tell *observers*: of a beginning from the first on, of an end from the last on.

    The host makes one of all that stand side by side. Where nothing stands between them and the host, they share its
    record, and each message is looked at once.
    """

    def __init__(self, app: ASGIApp, *observers: Observer) -> None:
        self.app = app
        outward = observers[::-1]
        templates = RouteTemplates(app)
        self._requests = Told(
            [each.begin for each in observers if type(each).begin is not Observer.begin],
            [each.end for each in outward if type(each).end is not Observer.end],
            templates,
        )
        self._sockets = Told(
            [each.open for each in observers if type(each).open is not Observer.open],
            [each.close for each in outward if type(each).close is not Observer.close],
            templates,
        )

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Observe a request or a websocket, pass on everything else."""
        if scope["type"] == "http":
            exchange = getattr(send, "__self__", None)
            if type(exchange) is Exchange and exchange.told is None:  # the host's, which tells of the end
                exchange.begin(scope, receive, self._requests)
                return self.app(scope, exchange.receive, exchange.send)
            return self._observe(Exchange(send), scope, receive, self._requests)
        if scope["type"] == "websocket":
            return self._observe(Socket(send), scope, receive, self._sockets)
        return self.app(scope, receive, send)

    async def _observe(self, exchange: Exchange, scope: Scope, receive: Receive, told: Told) -> None:
        try:
            exchange.begin(scope, receive, told)
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.end(error)
            raise
        exchange.end(None)


def adding(send: Send, *fields: Field) -> Send:
    """Return *send* for an answer whose head gets *fields* too.

    Where nothing stands between the caller and the host's record, that adds them, together with all that others add.
    """
    exchange = getattr(send, "__self__", None)
    if type(exchange) is Exchange:
        exchange.fields += fields
        return send

    def add(message: Message) -> Awaitable[None]:
        return send(with_fields(message, fields) if message["type"] == "http.response.start" else message)

    return add


def with_fields(message: Message, fields: Sequence[Field]) -> Message:
    """Return a copy of *message* whose headers have *fields* too."""
    return {**message, "headers": [*(message.get("headers") or ()), *fields]}


def named(message: Message, identity: Identity, fields: Sequence[Field]) -> Message:
    """Return a copy of *message* whose headers name the request exactly once, and have *fields* too."""
    headers = message.get("headers", ())
    for name, _ in headers:
        if len(name) == _LENGTH and name[0] in _INITIALS and name.lower() == REQUEST_ID:
            headers = [field for field in headers if field[0].lower() != REQUEST_ID]
            break
    copy = dict(message)
    copy["headers"] = [*headers, *fields, (REQUEST_ID, identity.request_id.encode())]
    return copy
