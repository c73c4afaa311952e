"""``@limited``: rate limit of one handler, declared where the handler is defined."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast, get_args

from anyio import from_thread
from starlette.types import Scope

from scalekit import Rate
from scalekit.contracts import SubjectIdentifier
from scalekit_ratelimit.config import make_limits
from scalekit_ratelimit.gcra import Algorithm
from scalekit_ratelimit.handler_limits import CURRENT
from scalekit_ratelimit.keys import (
    APPLICATION,
    Exemptions,
    KeyFunc,
    address_key,
    custom_key_func,
    key_func,
    normalize_key_name,
    parse_exemption,
)
from scalekit_ratelimit.policies import RateLimitPolicy

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
H = TypeVar("H", bound=Callable[..., Any])


DECORATED: set[str] = set()
"""Policy names of decorated handlers; while it is empty, requests need no context for them."""


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
        policy_name = _policy_name(name or f"{handler.__module__}.{handler.__qualname__}")
        handler_limits = make_limits(policy_name, rates, burst, _normalize_algorithm(algorithm))
        if cost > min(limit.burst for limit in handler_limits):
            raise ValueError(f"cost {cost} is greater than burst: every request would be refused")
        exemptions = Exemptions(exempt_entries) if exempt_entries else None

        @lru_cache(8)
        def policy_with(address: KeyFunc) -> RateLimitPolicy:
            return RateLimitPolicy(
                policy_name,
                handler_limits,
                _key_func(key, address),
                cost=cost,
                exemptions=exemptions,
                dry_run=dry_run,
            )

        policy_with(address_key)  # raises here, at import, when key is invalid
        DECORATED.add(policy_name)
        return cast(H, _wrap(handler, policy_with))

    return decorate


def _policy_name(name: str) -> str:
    plain = name.replace("<locals>.", "")
    return "".join(char if char.isalnum() and char.isascii() else "." if char in "<>." else "_" for char in plain)


def _key_func(key: str | Sequence[str] | Callable[[Scope], str | None], address: KeyFunc) -> KeyFunc:
    if callable(key):
        return custom_key_func(key)
    names = [normalize_key_name(name) for name in ([key] if isinstance(key, str) else key)]
    if not names or APPLICATION in names:
        raise ValueError(f'key must name a property of the request, such as "ip", got {key!r}')
    return key_func(names, address)


def _normalize_algorithm(algorithm: str) -> Algorithm:
    for known in ALGORITHMS:
        if algorithm.lower() == known:
            return known
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
