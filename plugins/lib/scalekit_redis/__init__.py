"""Redis, for plugins and applications: one connection for each address and process, shared by all.

Commands of concurrent requests share a write and a read, each has a deadline, and while Redis is gone they fail at
once.
"""

from scalekit_redis.client import DEADLINE, Redis
from scalekit_redis.connections import Connections, redis_connections, verify_redis
from scalekit_redis.errors import RedisUnavailable, ReplyError
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.prepared_script import PreparedScript
from scalekit_redis.script import Script

__all__ = [
    "DEADLINE",
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
