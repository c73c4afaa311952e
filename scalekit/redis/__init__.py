"""Redis, for plugins and applications: one connection for each address and process, shared by all.

Commands of concurrent requests share a write and a read, each has a deadline, and while Redis is gone they fail at
once.
"""

from scalekit.redis.client import DEADLINE, Redis
from scalekit.redis.connections import REDIS, Connections, verify_redis
from scalekit.redis.errors import RedisUnavailable, ReplyError
from scalekit.redis.hearing import Hearing
from scalekit.redis.prepared import PreparedScript
from scalekit.redis.script import Script

__all__ = [
    "DEADLINE",
    "REDIS",
    "Connections",
    "Hearing",
    "PreparedScript",
    "Redis",
    "RedisUnavailable",
    "ReplyError",
    "Script",
    "verify_redis",
]
