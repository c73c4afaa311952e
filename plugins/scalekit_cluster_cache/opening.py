"""Open the shared store on the cluster that the file names."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from scalekit import Context
from scalekit_caching.redis_store import RedisStore
from scalekit_cluster_cache.cluster_store import ReplicaStore
from scalekit_cluster_cache.config import ClusterCacheConfig
from scalekit_redis import redis_connections


@asynccontextmanager
async def open_cluster_store(context: Context, config: ClusterCacheConfig) -> AsyncGenerator[RedisStore, None]:
    """Return the store, open while inside; that the cluster cannot be reached yet is no error."""
    replicas = config.read_from == "replica"
    connections = redis_connections(context)
    async with connections.open(config.url, deadline=config.deadline, replica_reads=replicas) as redis:
        yield (ReplicaStore if replicas else RedisStore)(redis, config.prefix)
