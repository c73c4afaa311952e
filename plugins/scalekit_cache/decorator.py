"""``@cached``: the cache policy of one handler, declared at the handler."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from starlette.types import Scope

from scalekit import Duration
from scalekit_cache.policies import DEFAULT_STATUSES, CachePolicy
from scalekit_caching import name_tag

H = TypeVar("H", bound=Callable[..., Any])

ATTRIBUTE = "__scalekit_cached__"
DEFAULT_EARLY_REFRESH = 0.1
ROUTING_KEYS = ("router", "litestar_app")
"""Scope keys of frameworks that set the endpoint; a 404 has the router but no endpoint."""

MAX_CACHED = 4096
"""Maximum number of handlers whose policy is cached."""

_policies: dict[int, tuple[object, CachePolicy | None]] = {}
logger = logging.getLogger("scalekit.cache")


class DecoratorState:
    """Whether any handler of the process is decorated, and whether a missing endpoint has been logged."""

    in_use = False
    missing_endpoint_logged = False


def cached(
    *,
    ttl: str | None = None,
    vary: Sequence[str] = (),
    query_params: Sequence[str] | None = None,
    vary_by: Literal["identity"] | None = None,
    cookies: Literal["private", "ignore"] = "private",
    stale_while_revalidate: str = "0s",
    stale_if_error: str = "0s",
    early_refresh: float = DEFAULT_EARLY_REFRESH,
    tags: Sequence[str] = (),
    statuses: Sequence[int] = tuple(sorted(DEFAULT_STATUSES)),
) -> Callable[[H], H]:
    """Store responses of a handler for *ttl*, such as ``"1h"``, when a response specifies no lifetime itself.

    The arguments are the keys of a policy. The handler itself is returned, so that frameworks see its signature. Raises
    ValueError for an invalid duration, and for every other value that a policy does not accept.
    """
    by_identity = vary_by is not None and str(vary_by).lower() == "identity"
    if vary_by is not None and not by_identity:
        raise ValueError(f'vary_by must be "identity" or None, got {vary_by!r}')
    if str(cookies).lower() not in ("private", "ignore"):
        raise ValueError(f'cookies must be "private" or "ignore", got {cookies!r}')
    if not 0 <= early_refresh < 1:
        raise ValueError(f"early_refresh must be a fraction of ttl from 0 to below 1, got {early_refresh!r}")
    policy = CachePolicy(
        ttl=None if ttl is None else Duration(ttl),
        vary=tuple(sorted(name.lower().encode() for name in _names("vary", vary))),
        query=None if query_params is None else frozenset(map(str.encode, _names("query_params", query_params))),
        by_identity=by_identity,
        ignores_cookies=cookies.lower() == "ignore",
        stale_while_revalidate=Duration(stale_while_revalidate),
        stale_if_error=Duration(stale_if_error),
        early_refresh=early_refresh,
        tags=tuple(map(name_tag, _names("tags", tags))),
        statuses=frozenset(statuses),
    )

    def decorate(handler: H) -> H:
        setattr(handler, ATTRIBUTE, policy)
        DecoratorState.in_use = True
        return handler

    return decorate


def _names(key: str, names: Sequence[str]) -> Sequence[str]:
    if isinstance(names, str):
        raise ValueError(f'{key} must be a list of names, got {names!r}; write {key}=["{names}"]')
    return names


def policy_of(scope: Scope) -> CachePolicy | None:
    """Return the policy that :func:`cached` has set on the endpoint of *scope*, or None."""
    if not DecoratorState.in_use:
        return None
    endpoint = scope.get("endpoint") or scope.get("route_handler")
    if endpoint is None:
        if not DecoratorState.missing_endpoint_logged and all(name not in scope for name in ROUTING_KEYS):
            DecoratorState.missing_endpoint_logged = True
            logger.error(
                "@cached has no effect on %r: the ASGI scope does not contain the endpoint, because the application"
                " does not set it, or a middleware inside it passes on a copy of the scope or responds itself;"
                " add a policy to [plugins.cache] instead",
                scope["path"],
            )
        return None
    entry = _policies.get(id(endpoint))
    if entry is None:
        if len(_policies) >= MAX_CACHED:
            _policies.clear()
        found = (getattr(handler, ATTRIBUTE, None) for handler in _handlers(endpoint))
        policy = next((each for each in found if isinstance(each, CachePolicy)), None)
        # The value references the endpoint, because an id is unique only during an object's lifetime.
        entry = _policies[id(endpoint)] = (endpoint, policy)
    return entry[1]


def _handlers(endpoint: object) -> Iterator[object]:
    """Yield the objects of *endpoint*, for GET, that may be decorated: itself, and the functions inside it."""
    yield endpoint
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
        yield endpoint
    if isinstance(endpoint, type):  # Starlette's HTTPEndpoint
        yield getattr(endpoint, "get", None)
    else:
        yield getattr(endpoint, "fn", None)  # Litestar's handlers
        yield vars(type(endpoint)).get("__call__")  # callable objects
