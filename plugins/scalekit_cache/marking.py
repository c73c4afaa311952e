"""``@cached``: how the answers of one handler are kept, said where the handler is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from scalekit import Duration
from scalekit.caching.tags import name_tag
from scalekit_cache.policies import Policy

H = TypeVar("H", bound=Callable[..., Any])

MARK = "__scalekit_cached__"
EARLY = 0.1


def cached(
    *,
    ttl: str,
    vary: Sequence[str] = (),
    tags: Sequence[str] = (),
    by: Literal["identity"] | None = None,
    stale_while_revalidate: str = "0s",
    stale_if_error: str = "0s",
    early_refresh: float = EARLY,
) -> Callable[[H], H]:
    """Keep what a handler answers for *ttl*, such as ``"1h"``, where the answer itself does not say how long.

    The handler stays as it is, so that every framework sees what it saw. Raises ValueError for what is no duration.
    """
    policy = Policy(
        ttl=Duration(ttl),
        vary=tuple(sorted(name.lower().encode() for name in vary)),
        by_identity=by == "identity",
        while_revalidate=Duration(stale_while_revalidate),
        if_error=Duration(stale_if_error),
        early=early_refresh,
        tags=tuple(map(name_tag, tags)),
    )

    def mark(handler: H) -> H:
        setattr(handler, MARK, policy)
        return handler

    return mark


def marked(endpoint: object) -> Policy | None:
    """Return what :func:`cached` says of *endpoint*, or None."""
    found = getattr(endpoint, MARK, None)
    return found if isinstance(found, Policy) else None
