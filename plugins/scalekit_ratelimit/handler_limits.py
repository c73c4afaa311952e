"""Limits that are counted while a handler runs: by ``@limited``, or by the application itself.

When such a limit is exceeded, the 429 response replaces whatever the framework makes of the exception.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextvars import ContextVar

from starlette.types import ASGIApp, Message

from scalekit import Exchange, LocalResponse, ProblemError, local_response
from scalekit_ratelimit.gcra import Hit
from scalekit_ratelimit.headers import (
    Header,
    HitResults,
    add_limit_headers,
    remove_legacy_headers,
    too_many_requests,
)
from scalekit_ratelimit.keys import digest
from scalekit_ratelimit.limit_checks import all_allowed, enforced_results
from scalekit_ratelimit.limiter import Limiter
from scalekit_ratelimit.policies import RateLimitPolicy

LIMIT_HEADERS = "scalekit_ratelimit"
"""Scope key of the headers that are added to the response outside of the cache."""

START_TYPES = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class LimitExceeded(ProblemError):
    """Raised in a handler when its limit is exceeded; the client gets the 429 response that it holds."""


class RequestLimits:
    """The handler limits of one request; *headers* are added to its response, outside of the cache."""

    def __init__(self, limiter: Limiter, exchange: Exchange, headers: list[Header]) -> None:
        self.limiter = limiter
        self.scope = exchange.scope
        self._exchange = exchange
        self._headers = headers
        self._refusal: LocalResponse | None = None
        self._started = False
        self._responded = False

    async def serve(self, app: ASGIApp) -> None:
        """Serve the request with *app*."""
        exchange = self._exchange
        exchange.set_context(CURRENT, self)
        try:
            await app(exchange.scope, exchange.receive, self._send)
        except LimitExceeded as exceeded:
            if self._started:
                raise RuntimeError(
                    "a limit was exceeded after the response started; call hit() before the first byte"
                ) from exceeded
            await self._refuse()

    def apply(self, results: HitResults, add_headers: bool) -> None:
        """Record *results*; raises LimitExceeded when one refuses, otherwise adds headers if *add_headers*."""
        limiter = self.limiter
        enforced = enforced_results(results, limiter.metrics, self.scope)
        legacy_headers = limiter.policies.legacy_headers
        if not all_allowed(enforced):
            response = too_many_requests(enforced, legacy_headers)
            remove_legacy_headers(self._headers)
            self._refusal = local_response(response)
            raise LimitExceeded(response)
        if add_headers:
            add_limit_headers(self._headers, enforced, legacy_headers)

    def _send(self, message: Message) -> Awaitable[None]:
        if self._refusal is None:
            self._started = self._started or message["type"] in START_TYPES
        elif not self._started:
            return self._refuse()
        return self._exchange.send(message)

    async def _refuse(self) -> None:
        """Send the 429 response once; the framework's own response to the exception is dropped."""
        if self._refusal is not None and not self._responded:
            self._responded = True
            await self._exchange.respond(self._refusal)


CURRENT: ContextVar[RequestLimits | None] = ContextVar("scalekit_ratelimit", default=None)
"""The handler limits of the current request."""


class ApplicationLimits:
    """The *policies* with ``key = "application"``, by name; implements the contract ``Limits``."""

    def __init__(self, policies: Mapping[str, RateLimitPolicy], limiter: Limiter) -> None:
        self._policies = policies
        self._limiter = limiter

    async def hit(self, policy: str, key: str) -> None:
        """Count a hit for *key*; raises LimitExceeded when the limit is exceeded."""
        results = await self._limiter.hit(self._hits(policy, key))
        current = CURRENT.get()
        if current is not None:
            current.apply(results, add_headers=False)
            return
        enforced = enforced_results(results, self._limiter.metrics)
        if not all_allowed(enforced):
            raise LimitExceeded(too_many_requests(enforced, self._limiter.policies.legacy_headers))

    async def remaining(self, policy: str, key: str) -> int:
        """Return how many hits *key* has left."""
        results = await self._limiter.hit([hit._replace(cost=0) for hit in self._hits(policy, key)])
        cost = self._policies[policy].cost
        return min((state.remaining // cost for _, state in results), default=0)

    async def reset(self, policy: str, key: str) -> None:
        """Delete the counter of *key*."""
        await self._limiter.reset(self._hits(policy, key))

    def _hits(self, policy: str, key: str) -> list[Hit]:
        found = self._policies.get(policy)
        if found is None:
            known = ", ".join(sorted(self._policies)) or "none"
            raise ValueError(f'policy {policy!r} does not have key = "application"; policies that do: {known}')
        if not isinstance(key, str):
            raise TypeError(f"key must be a string, got {type(key).__name__}")
        digested = f"application.{digest(key)}"
        return [Hit(limit, digested, found.cost, found.dry_run) for limit in found.limits]
