"""Authenticate requests and websockets by their token, and refuse those that the access policy does not allow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.types import ASGIApp

from scalekit import LATER, Decision, Exchange, Filter, LocalResponse, Unavailable, WebSocketExchange, local_problem
from scalekit.telemetry import span
from scalekit_jwt.authenticator import Authenticator, CachedToken
from scalekit_jwt.challenges import REJECTION_REASON, forbidden_response, unauthorized_response
from scalekit_jwt.credentials import (
    AUTHORIZATION,
    COOKIE,
    accept_with_subprotocol,
    extract_token,
    move_subprotocol_token,
    normalize_authorization,
    read_credentials,
    read_proof,
)
from scalekit_jwt.errors import InvalidToken, UnknownKey
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.policy import ANY_VALID_TOKEN, AccessPolicy, Requirement
from scalekit_jwt.user import ANONYMOUS_USER, NO_CREDENTIALS

WaitForKeys = Callable[[], Awaitable[bool]]
WAIT = "jwt wait"
"""Name of the spans of requests that wait for keys of an issuer, or for the check of a proof."""


class AuthenticationFilter(Filter):
    """Sets ``user`` and ``auth`` of every request and websocket, and refuses those that *policy* does not allow.

    *challenge* begins the ``WWW-Authenticate`` header of refusals. ``authenticator`` and ``metrics`` are set while the
    plugin runs.
    """

    request_headers = (AUTHORIZATION, COOKIE)
    runs_while_pending = True
    authenticator: Authenticator | None = None
    metrics: JwtMetrics | None = None

    def __init__(self, policy: AccessPolicy, challenge: str) -> None:
        self.policy = policy
        self.challenge = challenge

    def on_request(self, exchange: Exchange) -> Decision:
        """Authenticate a request and check it against the policy."""
        authenticator = self.authenticator
        requirement = self.policy.requirements[exchange.scope.get("method", "GET"), exchange.route_path]
        try:
            authorization, cookies = read_credentials(exchange)
            if not authorization or authenticator is None:
                return self._set_anonymous(requirement, "", exchange)
            token = authenticator.lookup(authorization, cookies)
            if token is None:
                authorization = normalize_authorization(authorization)
                if not authorization:
                    return self._set_anonymous(requirement, "", exchange)
                token = authenticator.lookup(authorization, cookies)
            if token is None:
                if exchange.pending:  # verifying a signature is expensive: rate limits are applied first
                    return LATER
                token = authenticator.verify(authorization, cookies)
        except UnknownKey as unknown:
            if unknown.wait_for_keys is not None:
                return partial(self._retry_with_new_keys, exchange, unknown.wait_for_keys, requirement)
            return self._set_anonymous(requirement, unknown.reason, exchange)
        except InvalidToken as invalid:
            return self._set_anonymous(requirement, invalid.reason, exchange)
        except Unavailable as error:
            return _unavailable_response(error)
        if token.needs_proof:
            return partial(self._check_proof, exchange, token, requirement)
        return self._set_user(token, requirement, exchange)

    def on_open(self, exchange: WebSocketExchange) -> Decision:
        """Authenticate a websocket, whose token may be a subprotocol, and check it against the policy."""
        subprotocol = move_subprotocol_token(exchange)
        if not subprotocol:
            return self.on_request(exchange)
        return partial(self._open_with_subprotocol, subprotocol, exchange)

    async def _open_with_subprotocol(self, subprotocol: str, exchange: Exchange, app: ASGIApp) -> None:
        decision = self.on_request(exchange)
        if decision is None or isinstance(decision, LocalResponse):
            await _serve(decision, exchange, accept_with_subprotocol(subprotocol, app))
        elif callable(decision):
            await decision(accept_with_subprotocol(subprotocol, app))

    async def _check_proof(
        self, exchange: Exchange, token: CachedToken, requirement: Requirement | None, app: ASGIApp
    ) -> None:
        """Serve a request with a valid DPoP proof of the key that the token is bound to."""
        await _serve(await self._decide_by_proof(exchange, token, requirement), exchange, app)

    async def _decide_by_proof(
        self, exchange: Exchange, token: CachedToken, requirement: Requirement | None
    ) -> LocalResponse | None:
        authenticator = self.authenticator
        try:
            authorization, _ = read_credentials(exchange)
            if authenticator is None or not (token.dpop_scheme and token.jkt):
                raise InvalidToken("binding")
            with span(WAIT):
                await authenticator.proofs.check(read_proof(exchange.scope), extract_token(authorization), token.jkt)
        except InvalidToken as invalid:
            return self._set_anonymous(requirement, invalid.reason, exchange)
        except Unavailable as error:
            return _unavailable_response(error)
        return self._set_user(token, requirement, exchange)

    async def _retry_with_new_keys(
        self, exchange: Exchange, wait_for_keys: WaitForKeys, requirement: Requirement | None, app: ASGIApp
    ) -> None:
        """Wait for a fetch of the issuer's keys, then verify the token again."""
        await _serve(await self._decide_with_new_keys(exchange, wait_for_keys, requirement), exchange, app)

    async def _decide_with_new_keys(
        self, exchange: Exchange, wait_for_keys: WaitForKeys, requirement: Requirement | None
    ) -> LocalResponse | None:
        authenticator = self.authenticator
        with span(WAIT):
            fetched = await wait_for_keys()
        if not fetched or authenticator is None:
            return self._set_anonymous(requirement, "unknown_key", exchange)
        try:
            authorization, cookies = read_credentials(exchange)
            token = authenticator.verify(normalize_authorization(authorization), cookies)
        except InvalidToken as invalid:
            return self._set_anonymous(requirement, invalid.reason, exchange)
        except Unavailable as error:
            return _unavailable_response(error)
        if token.needs_proof:
            return await self._decide_by_proof(exchange, token, requirement)
        return self._set_user(token, requirement, exchange)

    def _set_user(
        self, cached: CachedToken, requirement: Requirement | None, exchange: Exchange
    ) -> LocalResponse | None:
        """Set the user of the token; return the 403 when the token does not meet *requirement*."""
        scope = exchange.scope
        scope["user"], scope["auth"] = cached.user, cached.auth
        if requirement is None or requirement is ANY_VALID_TOKEN:
            return None
        if not requirement.is_unmet(cached.token.scopes, cached.token.claims):
            return None
        self._count_refused("insufficient_scope")
        return forbidden_response(self.challenge, requirement.scopes)

    def _set_anonymous(self, requirement: Requirement | None, reason: str, exchange: Exchange) -> LocalResponse | None:
        """Set the anonymous user; return the 401 when a token is required. *reason* is why the token was rejected."""
        scope = exchange.scope
        scope["user"], scope["auth"] = ANONYMOUS_USER, NO_CREDENTIALS
        if reason:
            self._count_refused(reason)
            scope[REJECTION_REASON] = reason
        return None if requirement is None else unauthorized_response(self.challenge, reason)

    def _count_refused(self, reason: str) -> None:
        if self.metrics is not None:
            self.metrics.refused(reason)


async def _serve(decision: LocalResponse | None, exchange: Exchange, app: ASGIApp) -> None:
    if decision is None:
        await app(exchange.scope, exchange.receive, exchange.send)
    else:
        await exchange.respond(decision)


def _unavailable_response(error: Unavailable) -> LocalResponse:
    return local_problem(error.status_code, error.detail, headers=dict(error.headers or {}))
