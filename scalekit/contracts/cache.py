"""What is kept for a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from scalekit.context import Key
from scalekit.contracts.database import Values

if TYPE_CHECKING:
    from scalekit_caching import SharedStore

T = TypeVar("T")
TTL = "1h"
"""The default TTL of a value."""


class Cache(Protocol):
    """Values by key, and what forgets them and the answers that are kept.

    A value is bytes, or what JSON can hold. *ttl* is in seconds or a duration such as ``"5m"``. Raises ValueError for
    what is neither.
    """

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value under *key*, or *default*."""
        ...

    async def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values under those of *keys* that have one."""
        ...

    async def set(self, key: str, value: Any, ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Keep *value* under *key* for *ttl*."""
        ...

    async def set_many(self, values: Values, ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Keep all of *values* by key for *ttl*."""
        ...

    async def delete(self, *keys: str) -> None:
        """Forget what is under *keys*."""
        ...

    async def get_or_set(
        self, key: str, ttl: str | float, make: Callable[[], Awaitable[T]], tags: Sequence[str] = ()
    ) -> T:
        """Return the value under *key*, or the result of *make*, which runs once for concurrent misses."""
        ...

    async def purge(self, *, tag: str | Iterable[str] = (), path: str | Iterable[str] = ()) -> None:
        """Forget, at once, everything that has one of the tags, and the answers of the paths.

        A path is one such as ``/shop``, those in it as ``/shop/*``, or it and all below it as ``/shop/**``.
        """
        ...


CACHE: Key[Cache] = Key("cache", plugin="cache")
"""Values that are kept for a while, and the way to forget what is kept."""

CLUSTER_CACHE: Key[Cache] = Key("cluster cache", plugin="cluster-cache")
"""Values that all processes share, on a cluster."""

CLUSTER_STORE: Key[SharedStore] = Key("nodes of the cluster cache", plugin="cluster-cache")
"""The shared store of the cluster cache, for another cache that keeps its items there too."""
