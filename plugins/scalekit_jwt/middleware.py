"""Tell who asks, and refuse who may not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit.admission import PENDING, admitted
from scalekit.problem import refuse
from scalekit.resilience import Unavailable
from scalekit.routes import route_path
from scalekit_jwt.authenticating import Authenticator, Known
from scalekit_jwt.credentials import credentials, shown
from scalekit_jwt.errors import Refused, UnknownKey
from scalekit_jwt.identity import NOBODY, NOTHING
from scalekit_jwt.metrics import Metrics
from scalekit_jwt.policy import TOKEN_ALONE, Needs, Policy
from scalekit_jwt.proof import Proofs
from scalekit_jwt.refusing import REFUSED, answer, forbidden, unauthorized
from scalekit_jwt.subprotocols import taking_subprotocols

Arrival = Callable[[], Awaitable[bool]]


class Slot:
    """Holds what verifies tokens while it is started."""

    __slots__ = ("authenticator",)

    def __init__(self) -> None:
        self.authenticator: Authenticator | None = None


class JwtMiddleware:
    """Set ``user`` and ``auth`` of every request and websocket, and refuse those that *policy* does not let through.

    *scheme* is what the refused are told to come with.
    """

    carries_admission = True

    def __init__(self, app: ASGIApp, slot: Slot, policy: Policy, scheme: str, metrics: Metrics) -> None:
        self.app = app
        self.slot = slot
        self.policy = policy
        self.scheme = scheme
        self.metrics = metrics

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Let through, or answer."""
        authenticator = self.slot.authenticator
        kind = scope["type"]
        if kind == "websocket":
            send = taking_subprotocols(scope, send)
        elif kind != "http":
            return self.app(scope, receive, send)
        path = scope["path"] if not scope.get("root_path") else route_path(scope)
        needs = self.policy.needs(scope.get("method", "GET"), path)
        try:
            token, bound, cookies = credentials(scope["headers"])
            if not token or authenticator is None:
                return self._without(needs, "", scope, receive, send)
            known = authenticator.recall(token, cookies)
            if known is None:
                if PENDING in scope:
                    return self._once_admitted(scope, receive, send)
                known = authenticator.verify(token, cookies)
        except UnknownKey as unknown:
            if unknown.arrival is not None:
                return self._once_more(unknown.arrival, needs, scope, receive, send)
            return self._without(needs, unknown.reason, scope, receive, send)
        except Refused as refused:
            return self._without(needs, refused.reason, scope, receive, send)
        except Unavailable as gone:
            return _answer_gone(gone, scope, send)
        if bound or known.key:
            return self._proven(authenticator.proofs, known, needs, scope, receive, send)
        if needs is None or needs is TOKEN_ALONE:
            scope["user"] = known.user
            scope["auth"] = known.auth
            return self.app(scope, receive, send)
        return self._with(known, needs, scope, receive, send)

    async def _once_admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at a signature, and for keys, only for who is admitted: that is the costly part."""
        await admitted(scope)
        await self(scope, receive, send)

    async def _proven(
        self, proofs: Proofs, known: Known, needs: Needs | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Let through who has the key that the token is bound to."""
        await admitted(scope)
        try:
            token, bound, _ = credentials(scope["headers"])
            if not (bound and known.key):
                raise Refused("binding")
            await proofs.check(shown(scope), token, known.key)
        except Refused as refused:
            return await self._without(needs, refused.reason, scope, receive, send)
        except Unavailable as gone:
            return await _answer_gone(gone, scope, send)
        return await self._with(known, needs, scope, receive, send)

    def _with(self, known: Known, needs: Needs | None, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope["user"], scope["auth"] = known.user, known.auth
        if needs is None or not needs.missing(known.token.scopes, known.token.claims):
            return self.app(scope, receive, send)
        self.metrics.refused("scope")
        return answer(scope, send, forbidden(self.scheme, needs.scopes), "the token does not allow this")

    def _without(self, needs: Needs | None, reason: str, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope["user"], scope["auth"] = NOBODY, NOTHING
        if reason:
            self.metrics.refused(reason)
            scope[REFUSED] = reason
        if needs is None:
            return self.app(scope, receive, send)
        return answer(scope, send, unauthorized(self.scheme, reason), "a valid token is needed")

    async def _once_more(
        self, arrival: Arrival, needs: Needs | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Wait for the keys of another issuer, of which one may have signed the token."""
        authenticator = self.slot.authenticator
        if not await arrival() or authenticator is None:
            return await self._without(needs, "unknown_key", scope, receive, send)
        try:
            token, bound, cookies = credentials(scope["headers"])
            known = authenticator.verify(token, cookies)
        except Refused as refused:
            return await self._without(needs, refused.reason, scope, receive, send)
        except Unavailable as gone:
            return await _answer_gone(gone, scope, send)
        if bound or known.key:
            return await self._proven(authenticator.proofs, known, needs, scope, receive, send)
        return await self._with(known, needs, scope, receive, send)


def _answer_gone(gone: Unavailable, scope: Scope, send: Send) -> Awaitable[None]:
    return refuse(scope, send, gone.status_code, gone.detail, headers=dict(gone.headers or {}))
