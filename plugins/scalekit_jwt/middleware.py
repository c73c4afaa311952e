"""Tell who asks, and refuse who may not."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scalekit.routes import route_path
from scalekit_jwt.authenticating import Authenticator
from scalekit_jwt.credentials import SUBPROTOCOL, credentials, offered
from scalekit_jwt.errors import Refused
from scalekit_jwt.identity import NOBODY, NOTHING
from scalekit_jwt.metrics import Metrics
from scalekit_jwt.policy import Policy
from scalekit_jwt.refusing import answer, forbidden, unauthorized


class Slot:
    """Holds what verifies tokens while it is started."""

    __slots__ = ("authenticator",)

    def __init__(self) -> None:
        self.authenticator: Authenticator | None = None


class JwtMiddleware:
    """Set ``user`` and ``auth`` of every request and websocket, and refuse those that *policy* does not let through."""

    def __init__(self, app: ASGIApp, slot: Slot, policy: Policy, metrics: Metrics) -> None:
        self.app = app
        self.slot = slot
        self.policy = policy
        self.metrics = metrics

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Let through, or answer."""
        authenticator = self.slot.authenticator
        kind = scope["type"]
        if kind == "websocket":
            send = _taking_subprotocol(scope, send)
        elif kind != "http":
            return self.app(scope, receive, send)
        path = scope["path"] if not scope.get("root_path") else route_path(scope)
        needs = self.policy.needs(scope.get("method", "GET"), path)
        reason = ""
        scope["user"], scope["auth"] = NOBODY, NOTHING
        try:
            token, cookies = credentials(scope["headers"])
            if token and authenticator is not None:
                known = authenticator.authenticate(token, cookies)
                scope["user"], scope["auth"] = known.user, known.auth
                if needs is None or not needs.missing(known.token.scopes, known.token.claims):
                    return self.app(scope, receive, send)
                self.metrics.refused("scope")
                return answer(scope, send, forbidden(needs.scopes), "the token does not allow this")
        except Refused as refused:
            reason = refused.reason
            self.metrics.refused(reason)
        if needs is None:
            return self.app(scope, receive, send)
        return answer(scope, send, unauthorized(reason), "a valid token is needed")


def _taking_subprotocol(scope: Scope, send: Send) -> Send:
    """Move a token that came as a subprotocol to where a token belongs; the application never sees it as a protocol."""
    token = offered(scope.get("subprotocols", []))
    if not token or any(name == b"authorization" for name, _ in scope["headers"]):
        return send
    rest = scope["subprotocols"][2:]
    scope["subprotocols"] = [SUBPROTOCOL, *rest]
    scope["headers"] = [
        *((name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"),
        (b"sec-websocket-protocol", ", ".join(scope["subprotocols"]).encode("latin-1")),
        (b"authorization", b"Bearer " + token.encode("utf-8", "surrogateescape")),
    ]

    async def accept_one(message: Message) -> None:
        # A browser gives up when none of the protocols that it offers is chosen.
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": SUBPROTOCOL}
        await send(message)

    return accept_one
