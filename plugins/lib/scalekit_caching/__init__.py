"""Cache stores that plugins share: in memory, in Redis, and both as two levels (L1 and L2).

The library knows neither HTTP nor plugins. A plugin adds its own kinds of items and how they are encoded.
"""

from scalekit_caching.codec import Corrupt, ItemCodec
from scalekit_caching.inspection import count_tagged, is_purged, local_items, read_shared, sample_heads
from scalekit_caching.items import Item, Key, digest
from scalekit_caching.lease import Lease
from scalekit_caching.memory_store import MemoryStore
from scalekit_caching.metrics import CachingMetrics
from scalekit_caching.purge_count import count_items, purge_and_count
from scalekit_caching.redis_store import RedisStore
from scalekit_caching.shared_store import SharedStore
from scalekit_caching.store import PendingGet, RetryGet, Store
from scalekit_caching.tags import name_tag, path_tag, path_tags
from scalekit_caching.tiered_store import TieredStore
from scalekit_caching.value_cache import ValueCache

__all__ = [
    "CachingMetrics",
    "Corrupt",
    "Item",
    "ItemCodec",
    "Key",
    "Lease",
    "MemoryStore",
    "PendingGet",
    "RedisStore",
    "RetryGet",
    "SharedStore",
    "Store",
    "TieredStore",
    "ValueCache",
    "count_items",
    "count_tagged",
    "digest",
    "is_purged",
    "local_items",
    "name_tag",
    "path_tag",
    "path_tags",
    "purge_and_count",
    "read_shared",
    "sample_heads",
]
