"""The shared store of values on the cluster, optionally read from replicas.

A replica may lag behind the last purge, and would return purged values. So values are read from replicas and the tag
version from its master, by which a purged value of a replica is detected.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from scalekit import Context
from scalekit_caching import RedisStore
from scalekit_cluster_cache.config import ClusterCacheConfig
from scalekit_redis import redis_connections


class ReplicaStore(RedisStore):
    """A store that reads items from replicas, and tag versions from masters."""

    async def get_many(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], int]:
        """Return the items under *keys*, and the version of the last purge, in one round trip."""
        replies = [self._redis.get(self._items + key) for key in keys]
        items = asyncio.gather(*replies, return_exceptions=True)  # sent together with the query for the version
        version = await self.version()
        return [self.item_in_reply(item) for item in await items], version


@asynccontextmanager
async def open_cluster_store(context: Context, config: ClusterCacheConfig) -> AsyncGenerator[RedisStore, None]:
    """Return the store, open while inside; a cluster that is unavailable at first is no error."""
    replicas = config.read_from == "replica"
    connections = redis_connections(context)
    async with connections.open(config.url, timeout=config.store_timeout, replica_reads=replicas) as redis:
        yield (ReplicaStore if replicas else RedisStore)(redis, config.prefix)
