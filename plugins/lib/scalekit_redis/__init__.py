"""Redis client: one multiplexed connection for each server and process, shared by all plugins.

Commands of concurrent requests are pipelined into one write and one read. Each command has a timeout, and a circuit
breaker fails commands at once while Redis is unavailable.
"""

from scalekit_redis.client import Redis
from scalekit_redis.connections import Connections, redis_connections, verify_redis
from scalekit_redis.diagnostics import RedisContents, RedisUse, redis_diagnostics
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.metrics import redis_instruments
from scalekit_redis.prepared_script import PreparedScript
from scalekit_redis.pubsub_listener import ChannelSubscriptions, PubSubListener
from scalekit_redis.script import Script
from scalekit_redis.slots import Shard, key_in_slot, parse_cluster_slots
from scalekit_redis.url import REDIS_SCHEMES, HostPort, parse_url, similar_scheme

__all__ = [
    "REDIS_SCHEMES",
    "ChannelSubscriptions",
    "Connections",
    "HostPort",
    "InvalidationListener",
    "PreparedScript",
    "PubSubListener",
    "Redis",
    "RedisContents",
    "RedisUnavailable",
    "RedisUse",
    "ReplyError",
    "Script",
    "Shard",
    "key_in_slot",
    "parse_cluster_slots",
    "parse_url",
    "redis_connections",
    "redis_diagnostics",
    "redis_instruments",
    "similar_scheme",
    "verify_redis",
]
