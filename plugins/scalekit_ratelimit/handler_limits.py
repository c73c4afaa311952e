"""Limits that are counted while a handler runs: by the decorator ``@limited``, or by the application itself.

When such a limit is exceeded, the 429 response replaces the framework's own response to the exception.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast, get_args

from anyio import from_thread
from starlette.types import ASGIApp, Message, Scope

from scalekit import Exchange, LocalResponse, ProblemError, Rate, local_response
from scalekit.contracts import SubjectIdentifier
from scalekit_ratelimit.config import make_limits
from scalekit_ratelimit.headers import (
    Header,
    HitResults,
    add_limit_headers,
    remove_legacy_headers,
    too_many_requests,
)
from scalekit_ratelimit.keys import (
    APPLICATION,
    Exemptions,
    KeyFunc,
    address_key,
    application_key,
    custom_key_func,
    key_func,
    normalize_key_name,
    parse_exemption,
)
from scalekit_ratelimit.limit_checks import all_allowed, count_refusals
from scalekit_ratelimit.limiter import Limiter
from scalekit_ratelimit.limits import Algorithm, Hit
from scalekit_ratelimit.policies import RateLimitPolicy

LIMIT_HEADERS = "scalekit_ratelimit"
"""Scope key of the headers that are added to the response outside of the cache."""

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
H = TypeVar("H", bound=Callable[..., Any])
DECORATED: set[str] = set()
"""Policy names of decorated handlers; while it is empty, requests need no context for them."""

START_TYPES = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class LimitExceeded(ProblemError):
    """A limit is exceeded while a handler runs; the client gets the 429 response of the exception."""


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
        enforced = count_refusals(results, limiter.metrics, self.scope)
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
        enforced = count_refusals(results, self._limiter.metrics)
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
            names = ", ".join(sorted(self._policies)) or "none"
            raise ValueError(f'policy {policy!r} does not have key = "application"; policies that do: {names}')
        if not isinstance(key, str):
            raise TypeError(f"key must be a string, got {type(key).__name__}")
        digested = application_key(key)
        return [Hit(limit, digested, found.cost, found.dry_run) for limit in found.limits]


def limited(
    *limits: str,
    key: str | Sequence[str] | Callable[[Scope], str | None] = "ip",
    burst: int | None = None,
    cost: int = 1,
    exempt: Sequence[str | SubjectIdentifier] = (),
    dry_run: bool = False,
    algorithm: Algorithm = "gcra",
    name: str = "",
) -> Callable[[H], H]:
    """Limit a handler to the rates *limits*, such as ``"5/15m"``; the keywords are those of a policy.

    A hit is counted when the framework calls the handler, in addition to the policies of the configuration file.
    Raises ValueError for invalid arguments.
    """
    if not limits:
        raise ValueError('limited() needs at least one rate, such as "5/15m"')
    rates = [Rate(text) for text in limits]
    exempt_entries = [parse_exemption(entry) for entry in exempt]

    def decorate(handler: H) -> H:
        policy_name = _to_policy_name(name or f"{handler.__module__}.{handler.__qualname__}")
        handler_limits = make_limits(policy_name, rates, burst, _normalize_algorithm(algorithm))
        if cost > min(limit.burst for limit in handler_limits):
            raise ValueError(f"cost {cost} is greater than burst: every request would be refused")
        exemptions = Exemptions(exempt_entries) if exempt_entries else None

        @lru_cache(8)
        def policy_with(address: KeyFunc) -> RateLimitPolicy:
            return RateLimitPolicy(
                policy_name,
                handler_limits,
                _build_key_func(key, address),
                cost=cost,
                exemptions=exemptions,
                dry_run=dry_run,
            )

        policy_with(address_key)  # raises here, at import, when key is invalid
        DECORATED.add(policy_name)
        return cast(H, _wrap(handler, policy_with))

    return decorate


def _to_policy_name(name: str) -> str:
    text = name.replace("<locals>.", "")
    return "".join(char if char.isalnum() and char.isascii() else "." if char in "<>." else "_" for char in text)


def _build_key_func(key: str | Sequence[str] | Callable[[Scope], str | None], address: KeyFunc) -> KeyFunc:
    if callable(key):
        return custom_key_func(key)
    names = [normalize_key_name(name) for name in ([key] if isinstance(key, str) else key)]
    if not names or APPLICATION in names:
        raise ValueError(f'key must name a property of the request, such as "ip", got {key!r}')
    return key_func(names, address)


def _normalize_algorithm(algorithm: str) -> Algorithm:
    for name in ALGORITHMS:
        if algorithm.lower() == name:
            return name
    raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {algorithm!r}")


def _wrap(handler: Callable[..., Any], policy_with: Callable[[KeyFunc], RateLimitPolicy]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(handler):

        @wraps(handler)
        async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
            await _hit(policy_with)
            return await handler(*args, **kwargs)

        return async_wrapper

    @wraps(handler)
    def sync_wrapper(*args: Any, **kwargs: Any) -> Any:
        from_thread.run(_hit, policy_with)
        return handler(*args, **kwargs)

    return sync_wrapper


async def _hit(policy_with: Callable[[KeyFunc], RateLimitPolicy]) -> None:
    current = CURRENT.get()
    if current is None:  # called outside of a request of the host
        return
    hits = policy_with(current.limiter.policies.address_key_func).hits(current.scope)
    if hits:
        current.apply(await current.limiter.hit(hits), add_headers=True)
