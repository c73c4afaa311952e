"""Authenticate requests and websockets by their token, and refuse those that may not pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.types import ASGIApp

from scalekit import LATER, Decision, Exchange, Filter, LocalResponse, WebSocketExchange
from scalekit.http.response import problem
from scalekit.resilience import Unavailable
from scalekit_jwt.authenticator import Authenticator, CachedToken
from scalekit_jwt.challenges import REFUSED, forbidden_response, unauthorized_response
from scalekit_jwt.credentials import AUTHORIZATION, COOKIE, credentials, normalize, shown, token_in
from scalekit_jwt.errors import InvalidToken, UnknownKey
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.policy import ANY_VALID_TOKEN, AccessPolicy, Requirement
from scalekit_jwt.user import ANONYMOUS_USER, NO_CREDENTIALS
from scalekit_jwt.websocket_tokens import accept_with_subprotocol, move_subprotocol_token

Arrival = Callable[[], Awaitable[bool]]


class AuthenticationFilter(Filter):
    """Set ``user`` and ``auth`` of every request and websocket, and refuse those that *policy* does not let through.

    *scheme* is what the refused are told to come with. ``authenticator`` and ``metrics`` are there while the plugin
    runs.
    """

    request_headers = (AUTHORIZATION, COOKIE)
    runs_while_pending = True
    authenticator: Authenticator | None = None
    metrics: JwtMetrics | None = None

    def __init__(self, policy: AccessPolicy, scheme: str) -> None:
        self.policy = policy
        self.scheme = scheme

    def on_request(self, exchange: Exchange) -> Decision:
        """Let a request through, or refuse it."""
        authenticator = self.authenticator
        requirement = self.policy.requirements[exchange.scope.get("method", "GET"), exchange.route_path]
        try:
            authorization, cookies = credentials(exchange)
            if not authorization or authenticator is None:
                return self._without(requirement, "", exchange)
            known = authenticator.lookup(authorization, cookies)
            if known is None:
                authorization = normalize(authorization)
                if not authorization:
                    return self._without(requirement, "", exchange)
                known = authenticator.lookup(authorization, cookies)
            if known is None:
                if exchange.pending:  # to verify a signature is costly: only for who is within the limits
                    return LATER
                known = authenticator.verify(authorization, cookies)
        except UnknownKey as unknown:
            if unknown.wait_for_keys is not None:
                return partial(self._verify_with_new_keys, exchange, unknown.wait_for_keys, requirement)
            return self._without(requirement, unknown.reason, exchange)
        except InvalidToken as refused:
            return self._without(requirement, refused.reason, exchange)
        except Unavailable as gone:
            return _unavailable(gone)
        if known.needs_proof:
            return partial(self._prove, exchange, known, requirement)
        return self._with(known, requirement, exchange)

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Let a websocket through, or refuse it; browsers send its token as a subprotocol."""
        protocol = move_subprotocol_token(exchange)
        if not protocol:
            return self.on_request(exchange)
        return partial(self._open_with, protocol, exchange)

    async def _open_with(self, protocol: str, exchange: Exchange, app: ASGIApp) -> None:
        decision = self.on_request(exchange)
        if decision is None or isinstance(decision, LocalResponse):
            await _serve(decision, exchange, accept_with_subprotocol(protocol, app))
        elif callable(decision):
            await decision(accept_with_subprotocol(protocol, app))

    async def _prove(
        self, exchange: Exchange, known: CachedToken, requirement: Requirement | None, app: ASGIApp
    ) -> None:
        """Let through who has the key that the token is bound to."""
        await _serve(await self._proven(exchange, known, requirement), exchange, app)

    async def _proven(
        self, exchange: Exchange, known: CachedToken, requirement: Requirement | None
    ) -> LocalResponse | None:
        authenticator = self.authenticator
        try:
            authorization, _ = credentials(exchange)
            if authenticator is None or not (known.proved and known.key):
                raise InvalidToken("binding")
            await authenticator.proofs.check(shown(exchange.scope), token_in(authorization), known.key)
        except InvalidToken as refused:
            return self._without(requirement, refused.reason, exchange)
        except Unavailable as gone:
            return _unavailable(gone)
        return self._with(known, requirement, exchange)

    async def _verify_with_new_keys(
        self, exchange: Exchange, wait_for_keys: Arrival, requirement: Requirement | None, app: ASGIApp
    ) -> None:
        """Wait for the keys of another issuer, of which one may have signed the token."""
        await _serve(await self._verified_with_new_keys(exchange, wait_for_keys, requirement), exchange, app)

    async def _verified_with_new_keys(
        self, exchange: Exchange, wait_for_keys: Arrival, requirement: Requirement | None
    ) -> LocalResponse | None:
        authenticator = self.authenticator
        if not await wait_for_keys() or authenticator is None:
            return self._without(requirement, "unknown_key", exchange)
        try:
            authorization, cookies = credentials(exchange)
            known = authenticator.verify(normalize(authorization), cookies)
        except InvalidToken as refused:
            return self._without(requirement, refused.reason, exchange)
        except Unavailable as gone:
            return _unavailable(gone)
        if known.needs_proof:
            return await self._proven(exchange, known, requirement)
        return self._with(known, requirement, exchange)

    def _with(self, known: CachedToken, requirement: Requirement | None, exchange: Exchange) -> LocalResponse | None:
        scope = exchange.scope
        scope["user"], scope["auth"] = known.user, known.auth
        if (
            requirement is None
            or requirement is ANY_VALID_TOKEN
            or not requirement.missing(known.token.scopes, known.token.claims)
        ):
            return None
        self._count_refused("scope")
        return forbidden_response(self.scheme, requirement.scopes)

    def _without(self, requirement: Requirement | None, reason: str, exchange: Exchange) -> LocalResponse | None:
        scope = exchange.scope
        scope["user"], scope["auth"] = ANONYMOUS_USER, NO_CREDENTIALS
        if reason:
            self._count_refused(reason)
            scope[REFUSED] = reason
        return None if requirement is None else unauthorized_response(self.scheme, reason)

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
