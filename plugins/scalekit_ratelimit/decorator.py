"""``@limited``: how often one handler may be asked, said where the handler is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast, get_args

from anyio import from_thread
from starlette.types import Scope

from scalekit import Rate
from scalekit.contracts import SubjectIdentifier
from scalekit_ratelimit.config import rules
from scalekit_ratelimit.gcra import Algorithm
from scalekit_ratelimit.handler_limits import CURRENT
from scalekit_ratelimit.keys import (
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
"""Names of handlers that are marked: without any, requests need not say who they are."""


def limited(
    *limits: str,
    by: str | Sequence[str] | Callable[[Scope], str | None] = "ip",
    burst: int | None = None,
    cost: int = 1,
    exempt: Sequence[str | SubjectIdentifier] = (),
    dry_run: bool = False,
    algorithm: Algorithm = "gcra",
    name: str = "",
) -> Callable[[H], H]:
    """Let a handler be asked no more often than *limits*, such as ``"5/15m"``, say; the rest as in the file.

    It is counted when the framework calls the handler, besides what the file says. Raises ValueError for what is none.
    """
    if not limits:
        raise ValueError('limited() takes at least one limit, such as "5/15m"')
    rates = [Rate(text) for text in limits]
    whom = [parse_exemption(each) for each in exempt]

    def mark(handler: H) -> H:
        known = name or f"{handler.__module__}.{handler.__qualname__}".replace("<locals>.", "")
        known = "".join(each if each.isalnum() and each.isascii() else "." if each in "<>." else "_" for each in known)
        made = rules(known, rates, burst, _spelled(algorithm))
        if cost > min(rule.burst for rule in made):
            raise ValueError(f"cost {cost} is more than may come at once; nothing would be allowed")
        exempted = Exemptions(whom) if whom else None

        @lru_cache(8)
        def policy_with(address: KeyFunc) -> RateLimitPolicy:
            return RateLimitPolicy(known, made, _counter(by, address), cost, exempted, dry_run)

        policy_with(address_key)  # so that a mistake is told here
        DECORATED.add(known)
        return cast(H, _counted(handler, policy_with))

    return mark


def _counter(by: str | Sequence[str] | Callable[[Scope], str | None], address: KeyFunc) -> KeyFunc:
    if callable(by):
        return custom_key_func(by)
    words = [normalize_key_name(each) for each in ([by] if isinstance(by, str) else by)]
    if not words or "code" in words:
        raise ValueError(f'by is what each call of a handler is counted by, such as "ip", got {by!r}')
    return key_func(words, address)


def _spelled(algorithm: str) -> Algorithm:
    for known in ALGORITHMS:
        if algorithm.lower() == known:
            return known
    raise ValueError(f"algorithm is one of {', '.join(ALGORITHMS)}, got {algorithm!r}")


def _counted(handler: Callable[..., Any], policy_with: Callable[[KeyFunc], RateLimitPolicy]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(handler):

        @wraps(handler)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            await _count(policy_with)
            return await handler(*args, **kwargs)

        return asynchronous

    @wraps(handler)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        from_thread.run(_count, policy_with)
        return handler(*args, **kwargs)

    return synchronous


async def _count(policy_with: Callable[[KeyFunc], RateLimitPolicy]) -> None:
    current = CURRENT.get()
    if current is None:  # no request that the host serves
        return
    takes = policy_with(current.limits.policies.address).takes(current.scope)
    if takes:
        current.note(await current.limits.take(takes), told=True)
