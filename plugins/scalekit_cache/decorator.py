"""``@cached``: how the answers of one handler are kept, said where the handler is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from starlette.types import Scope

from scalekit import Duration
from scalekit_cache.policies import DEFAULT_STATUSES, CachePolicy
from scalekit_caching.tags import name_tag

H = TypeVar("H", bound=Callable[..., Any])

MARK = "__scalekit_cached__"
EARLY = 0.1
NAMED = ("router", "litestar_app")
"""What frameworks leave in the scope that say which handler has answered; 404 has none."""

REMEMBERED = 4096
"""Handlers of which it is remembered how they are policy_of."""

_known: dict[int, tuple[Any, CachePolicy | None]] = {}
logger = logging.getLogger("scalekit.cache")


class DecoratorState:
    """What is known of all handlers together: whether there are any, and whether nobody says which one has answered."""

    any = False
    is_lost = False


def cached(
    *,
    ttl: str | None = None,
    vary: Sequence[str] = (),
    query_params: Sequence[str] | None = None,
    vary_by: Literal["identity"] | None = None,
    cookies: Literal["private", "ignore"] = "private",
    stale_while_revalidate: str = "0s",
    stale_if_error: str = "0s",
    early_refresh: float = EARLY,
    tags: Sequence[str] = (),
    statuses: Sequence[int] = tuple(sorted(DEFAULT_STATUSES)),
) -> Callable[[H], H]:
    """Keep what a handler answers for *ttl*, such as ``"1h"``, where the answer itself does not say how long.

    The arguments are the keys of a policy. The handler stays as it is, so that every framework sees what it saw. Raises
    ValueError for what is no duration, and for every other value that a policy would not take.
    """
    is_by_identity = vary_by is not None and str(vary_by).lower() == "identity"
    if vary_by is not None and not is_by_identity:
        raise ValueError(f'vary_by is "identity" or None, got {vary_by!r}')
    if str(cookies).lower() not in ("private", "ignore"):
        raise ValueError(f'cookies is "private" or "ignore", got {cookies!r}')
    if not 0 <= early_refresh < 1:
        raise ValueError(f"early_refresh is a share of ttl from 0 to below 1, got {early_refresh!r}")
    policy = CachePolicy(
        ttl=None if ttl is None else Duration(ttl),
        vary=tuple(sorted(name.lower().encode() for name in _several("vary", vary))),
        query=None
        if query_params is None
        else frozenset(name.encode() for name in _several("query_params", query_params)),
        by_identity=is_by_identity,
        ignores_cookies=cookies.lower() == "ignore",
        while_revalidate=Duration(stale_while_revalidate),
        if_error=Duration(stale_if_error),
        early=early_refresh,
        tags=tuple(map(name_tag, _several("tags", tags))),
        statuses=frozenset(statuses),
    )

    def mark(handler: H) -> H:
        setattr(handler, MARK, policy)
        DecoratorState.any = True
        return handler

    return mark


def _several(key: str, names: Sequence[str]) -> Sequence[str]:
    if isinstance(names, str):
        raise ValueError(f'{key} is a list of names, got {names!r}; write {key}=["{names}"]')
    return names


def policy_of(scope: Scope) -> CachePolicy | None:
    """Return what :func:`cached` says of the handler that *scope* was given to, or None."""
    if not DecoratorState.any:
        return None
    endpoint = scope.get("endpoint") or scope.get("route_handler")
    if endpoint is None:
        if not DecoratorState.is_lost and all(name not in scope for name in NAMED):
            DecoratorState.is_lost = True
            logger.error(
                "@cached has no effect on %r: the application does not say in the ASGI scope which handler it is,"
                " or a middleware inside it passes on a copy of the scope, or answers by itself;"
                " write a policy in [plugins.cache] instead",
                scope["path"],
            )
        return None
    known = _known.get(id(endpoint))
    if known is None:
        if len(_known) >= REMEMBERED:
            _known.clear()
        found = (getattr(handler, MARK, None) for handler in _handlers(endpoint))
        policy = next((each for each in found if isinstance(each, CachePolicy)), None)
        # It is kept beside, since an id is an object's own only as long as that is there.
        known = _known[id(endpoint)] = (endpoint, policy)
    return known[1]


def _handlers(endpoint: Any) -> Iterator[Any]:
    """Yield what may have been policy_of of *endpoint*, which has answered GET: itself, or what is in it."""
    yield endpoint
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
        yield endpoint
    if isinstance(endpoint, type):  # Starlette's HTTPEndpoint
        yield getattr(endpoint, "get", None)
    else:
        yield getattr(endpoint, "fn", None)  # Litestar's handlers
        yield vars(type(endpoint)).get("__call__")  # objects that are called like a function
