"""Redis client: one multiplexed connection for each server and process, shared by all plugins.

Commands of concurrent requests are pipelined into one write and one read. Each command has a timeout, and a circuit
breaker fails commands at once while Redis is unavailable.
"""

from scalekit_redis.client import DEFAULT_TIMEOUT, Redis
from scalekit_redis.connections import Connections, redis_connections, verify_redis
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.prepared_script import PreparedScript
from scalekit_redis.script import Script

__all__ = [
    "DEFAULT_TIMEOUT",
    "Connections",
    "InvalidationListener",
    "PreparedScript",
    "Redis",
    "RedisUnavailable",
    "ReplyError",
    "Script",
    "redis_connections",
    "verify_redis",
]
