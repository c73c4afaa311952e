"""Contract of the cache of values."""

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
    """Stores values by key with a TTL, and purges values and stored responses.

    A value is bytes or JSON-compatible. *ttl* is in seconds or a duration such as ``"5m"``. Raises ValueError for
    other values and durations.
    """

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value under *key*, or *default*."""
        ...

    async def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values of those *keys* that have one, by key."""
        ...

    async def set(self, key: str, value: Any, ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Store *value* under *key* for *ttl*."""
        ...

    async def set_many(self, values: Values, ttl: str | float = TTL, tags: Sequence[str] = ()) -> None:
        """Store all *values* by key for *ttl*."""
        ...

    async def delete(self, *keys: str) -> None:
        """Delete the values under *keys*."""
        ...

    async def get_or_set(
        self, key: str, ttl: str | float, make: Callable[[], Awaitable[T]], tags: Sequence[str] = ()
    ) -> T:
        """Return the value under *key*, or store the result of *make*, which runs once for concurrent misses."""
        ...

    async def purge(self, *, tag: str | Iterable[str] = (), path: str | Iterable[str] = ()) -> None:
        """Purge all values and responses with one of the tags, and the responses of the paths, in all processes.

        A path is exact (``/shop``), or a glob: ``/shop/*`` for the next segment, ``/shop/**`` for all levels.
        """
        ...


CACHE: Key[Cache] = Key("cache", plugin="cache")
"""The cache of values, which also purges stored responses."""

CLUSTER_CACHE: Key[Cache] = Key("cluster cache", plugin="cluster-cache")
"""The cache of values on a Redis Cluster, which all processes share."""

CLUSTER_STORE: Key[SharedStore] = Key("cluster store", plugin="cluster-cache")
"""The shared store of the cluster cache, which another cache may use."""
