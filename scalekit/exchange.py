"""What passes between the server and the application for one request or websocket, and who is told of it.

One record looks at the messages on their way. Whoever wants to know how a request went reads it at the end, instead of
standing in the way with a middleware of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.identity import CURRENT, REQUEST_ID, Identity, identity_of
from scalekit.route import RouteTemplates

SWITCHED = 101
"""The status of a websocket that was accepted."""
REJECTED = 403
"""What servers answer when a websocket is closed before it was accepted."""

_LENGTH = len(REQUEST_ID)


class Exchange:
    """A request and its answer, as far as they have passed.

    ``path`` is that of the request, before the application could write another one into ``scope``. ``status`` is 0 until
    an answer begins; ``late`` tells whether the client had left by then, and ``left`` whether it has by now. ``sent`` and
    ``received`` are bytes of bodies. At the end ``seconds`` says how long it took until the answer was complete, and
    ``route`` is the template of the route. ``identity`` is there once it is ``identified``.
    """

    __slots__ = (
        "_receive",
        "_send",
        "before",
        "began",
        "complete",
        "identified",
        "identity",
        "late",
        "left",
        "observing",
        "path",
        "received",
        "route",
        "scope",
        "seconds",
        "sent",
        "status",
    )

    scope: Scope
    path: str
    route: str
    began: float
    seconds: float
    identity: Identity
    before: Identity | None
    _receive: Receive

    def __init__(self, send: Send) -> None:
        self._send = send
        self.observing: Observing | None = None
        self.complete = 0.0
        self.identified = self.late = self.left = False
        self.received = self.sent = self.status = 0

    def identify(self) -> None:
        """Put the request's id into the answer, and let its ``identity`` be the current one until the end.

        ``before`` then is what was current: a server may begin a pipelined request within the one before.
        """
        self.identified = True
        self.identity = identity_of(self.scope)
        self.before = CURRENT.get()
        CURRENT.set(self.identity)

    def send(self, message: Message) -> Awaitable[None]:
        """Pass on what goes to the client."""
        kind = message["type"]
        if kind == "http.response.body":
            self.sent += len(message.get("body", b""))
            if not message.get("more_body"):
                self.complete = perf_counter()
        elif kind == "http.response.start":
            self.status = message["status"]
            self.late = self.left
            if self.identified:
                message = named(message, self.identity)
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
        elif kind == "websocket.accept" or kind == "websocket.http.response.start":
            self.status = SWITCHED if kind == "websocket.accept" else message["status"]
            if self.identified:
                message = named(message, self.identity)
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


class Observing:
    """Serve with *app* and tell *observers*: of a beginning from the first on, of an end from the last on.

    The host makes one of all that stand side by side. Where nothing stands between it and the host, the host's own
    record of the request is theirs too, and its messages are looked at once.
    """

    def __init__(self, app: ASGIApp, *observers: Observer) -> None:
        self.app = app
        self.templates = RouteTemplates(app)
        inward, outward = list(observers), list(reversed(observers))
        self._begin = [each.begin for each in inward if type(each).begin is not Observer.begin]
        self._end = [each.end for each in outward if type(each).end is not Observer.end]
        self._open = [each.open for each in inward if type(each).open is not Observer.open]
        self._close = [each.close for each in outward if type(each).close is not Observer.close]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Observe a request or a websocket, pass on everything else."""
        if scope["type"] == "http":
            exchange = getattr(send, "__self__", None)
            if type(exchange) is Exchange and exchange.observing is None:
                return self._serve(exchange, scope, receive)
            return self._observe(Exchange(send), scope, receive)
        if scope["type"] == "websocket":
            return self._observe(Socket(send), scope, receive)
        return self.app(scope, receive, send)

    async def _observe(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        try:
            await self._serve(exchange, scope, receive)
        except BaseException as error:
            self.end(exchange, error)
            raise
        self.end(exchange, None)

    def _serve(self, exchange: Exchange, scope: Scope, receive: Receive) -> Awaitable[None]:
        exchange.began = perf_counter()
        exchange.observing = self
        exchange.scope = scope
        exchange.path = scope["path"]
        exchange._receive = receive
        if isinstance(exchange, Socket):
            for opened in self._open:
                opened(exchange)
        else:
            for begun in self._begin:
                begun(exchange)
        return self.app(scope, exchange.receive, exchange.send)

    def end(self, exchange: Exchange, error: BaseException | None) -> None:
        """Tell the observers that the application is done with *exchange*."""
        exchange.seconds = (exchange.complete or perf_counter()) - exchange.began
        route = self.templates.known.get(id(exchange.scope.get("endpoint")))
        exchange.route = self.templates.of(exchange.scope) if route is None else route
        if isinstance(exchange, Socket):
            for closed in self._close:
                closed(exchange, error)
        else:
            for ended in self._end:
                ended(exchange, error)
        if exchange.identified:
            CURRENT.set(exchange.before)


def named(message: Message, identity: Identity) -> Message:
    """Return a copy of *message* whose headers name the request exactly once."""
    headers = message.get("headers", ())
    for field in headers:
        if len(field[0]) == _LENGTH and field[0].lower() == REQUEST_ID:
            headers = [field for field in headers if field[0].lower() != REQUEST_ID]
            break
    return {**message, "headers": [*headers, (REQUEST_ID, identity.request_id.encode())]}
