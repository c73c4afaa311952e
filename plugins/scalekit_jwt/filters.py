"""Authenticate requests and websockets by their token, and refuse those that may not pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.types import ASGIApp

from scalekit import LATER, Decision, Exchange, Filter, LocalResponse, WebSocketExchange
from scalekit.http.response import problem
from scalekit.resilience import Unavailable
from scalekit_jwt.authenticator import Authenticator, Known
from scalekit_jwt.challenges import REFUSED, forbidden_response, unauthorized_response
from scalekit_jwt.credentials import AUTHORIZATION, COOKIE, credentials, normalize, shown, token_in
from scalekit_jwt.errors import Refused, UnknownKey
from scalekit_jwt.metrics import Metrics
from scalekit_jwt.policy import TOKEN_ALONE, Needs, Policy
from scalekit_jwt.user import NOBODY, NOTHING
from scalekit_jwt.websocket_tokens import accept_with, take_subprotocol

Arrival = Callable[[], Awaitable[bool]]


class Authentication(Filter):
    """Set ``user`` and ``auth`` of every request and websocket, and refuse those that *policy* does not let through.

    *scheme* is what the refused are told to come with. ``authenticator`` and ``metrics`` are there while the plugin
    runs.
    """

    request_headers = (AUTHORIZATION, COOKIE)
    runs_while_pending = True
    authenticator: Authenticator | None = None
    metrics: Metrics | None = None

    def __init__(self, policy: Policy, scheme: str) -> None:
        self.policy = policy
        self.scheme = scheme

    def on_request(self, exchange: Exchange) -> Decision:
        """Let a request through, or refuse it."""
        authenticator = self.authenticator
        needs = self.policy.needs[exchange.scope.get("method", "GET"), exchange.route_path]
        try:
            authorization, cookies = credentials(exchange)
            if not authorization or authenticator is None:
                return self._without(needs, "", exchange)
            known = authenticator.recall(authorization, cookies)
            if known is None:
                authorization = normalize(authorization)
                if not authorization:
                    return self._without(needs, "", exchange)
                known = authenticator.recall(authorization, cookies)
            if known is None:
                if exchange.pending:  # to verify a signature is costly: only for who is within the limits
                    return LATER
                known = authenticator.verify(authorization, cookies)
        except UnknownKey as unknown:
            if unknown.arrival is not None:
                return partial(self._verify_with_new_keys, exchange, unknown.arrival, needs)
            return self._without(needs, unknown.reason, exchange)
        except Refused as refused:
            return self._without(needs, refused.reason, exchange)
        except Unavailable as gone:
            return _unavailable(gone)
        if known.needs_proof:
            return partial(self._prove, exchange, known, needs)
        return self._with(known, needs, exchange)

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Let a websocket through, or refuse it; browsers send its token as a subprotocol."""
        protocol = take_subprotocol(exchange)
        if not protocol:
            return self.on_request(exchange)
        return partial(self._open_with, protocol, exchange)

    async def _open_with(self, protocol: str, exchange: Exchange, app: ASGIApp) -> None:
        decision = self.on_request(exchange)
        if decision is None or isinstance(decision, LocalResponse):
            await _serve(decision, exchange, accept_with(protocol, app))
        elif callable(decision):
            await decision(accept_with(protocol, app))

    async def _prove(self, exchange: Exchange, known: Known, needs: Needs | None, app: ASGIApp) -> None:
        """Let through who has the key that the token is bound to."""
        await _serve(await self._proven(exchange, known, needs), exchange, app)

    async def _proven(self, exchange: Exchange, known: Known, needs: Needs | None) -> LocalResponse | None:
        authenticator = self.authenticator
        try:
            authorization, _ = credentials(exchange)
            if authenticator is None or not (known.proved and known.key):
                raise Refused("binding")
            await authenticator.proofs.check(shown(exchange.scope), token_in(authorization), known.key)
        except Refused as refused:
            return self._without(needs, refused.reason, exchange)
        except Unavailable as gone:
            return _unavailable(gone)
        return self._with(known, needs, exchange)

    async def _verify_with_new_keys(
        self, exchange: Exchange, arrival: Arrival, needs: Needs | None, app: ASGIApp
    ) -> None:
        """Wait for the keys of another issuer, of which one may have signed the token."""
        await _serve(await self._verified_with_new_keys(exchange, arrival, needs), exchange, app)

    async def _verified_with_new_keys(
        self, exchange: Exchange, arrival: Arrival, needs: Needs | None
    ) -> LocalResponse | None:
        authenticator = self.authenticator
        if not await arrival() or authenticator is None:
            return self._without(needs, "unknown_key", exchange)
        try:
            authorization, cookies = credentials(exchange)
            known = authenticator.verify(normalize(authorization), cookies)
        except Refused as refused:
            return self._without(needs, refused.reason, exchange)
        except Unavailable as gone:
            return _unavailable(gone)
        if known.needs_proof:
            return await self._proven(exchange, known, needs)
        return self._with(known, needs, exchange)

    def _with(self, known: Known, needs: Needs | None, exchange: Exchange) -> LocalResponse | None:
        scope = exchange.scope
        scope["user"], scope["auth"] = known.user, known.auth
        if needs is None or needs is TOKEN_ALONE or not needs.missing(known.token.scopes, known.token.claims):
            return None
        self._count_refused("scope")
        return forbidden_response(self.scheme, needs.scopes)

    def _without(self, needs: Needs | None, reason: str, exchange: Exchange) -> LocalResponse | None:
        scope = exchange.scope
        scope["user"], scope["auth"] = NOBODY, NOTHING
        if reason:
            self._count_refused(reason)
            scope[REFUSED] = reason
        return None if needs is None else unauthorized_response(self.scheme, reason)

    def _count_refused(self, reason: str) -> None:
        if self.metrics is not None:
            self.metrics.refused(reason)


async def _serve(decision: LocalResponse | None, exchange: Exchange, app: ASGIApp) -> None:
    if decision is None:
        await app(exchange.scope, exchange.receive, exchange.send)
    else:
        await exchange.respond(decision)


def _unavailable(gone: Unavailable) -> LocalResponse:
    return problem(gone.status_code, gone.detail, headers=dict(gone.headers or {}))
