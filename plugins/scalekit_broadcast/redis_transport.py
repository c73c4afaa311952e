"""Broadcasts through Redis: a stream is the history of each channel, and sharded pub/sub delivers new messages.

One script stores and publishes a message, so that messages are delivered in the order of their ids. The name of a
channel is also the key of its stream, so that both are in one slot of a cluster.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from scalekit import Unavailable
from scalekit_broadcast.config import BroadcastConfig
from scalekit_broadcast.message_id import parse_message_id
from scalekit_broadcast.transport import Receiver, StoredMessage
from scalekit_redis import ChannelSubscriptions, Connections, PubSubListener, Redis, ReplyError, Script

PUBLISH = Script("""\
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local number = 1
if last then
  local milliseconds, previous = string.match(last[1], '^(%d+)%-(%d+)$')
  if tonumber(milliseconds) > tonumber(now) then now = milliseconds end
  number = tonumber(previous) + 1
end
local id = now .. '-' .. string.format('%.0f', number)
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], id, 'json', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SPUBLISH', KEYS[1], id .. ' ' .. ARGV[1])
return id
""")


class RedisTransport:
    """Publishes to the channels below the prefix of *config*."""

    def __init__(self, redis: Redis, subscriptions: ChannelSubscriptions, config: BroadcastConfig) -> None:
        self._redis = redis
        self._subscriptions = subscriptions
        self._config = config
        self._prefix = config.prefix.encode() + b":"
        self._ttl = max(1, round(config.history_ttl * 1000))

    async def publish(self, channel: str, json: bytes) -> str:
        """Store a message and publish it; return its id."""
        with _rejection_is_unavailable(channel):
            message_id: bytes = await self._redis.run_script(
                PUBLISH, [self._key(channel)], [json, self._config.history, self._ttl]
            )
        return message_id.decode()

    async def join(self, channel: str) -> None:
        """Subscribe to *channel*."""
        with _rejection_is_unavailable(channel):
            await self._subscriptions.subscribe(self._key(channel), self._config.redis_timeout)

    def leave(self, channel: str) -> None:
        """Unsubscribe from *channel*."""
        self._subscriptions.unsubscribe(self._key(channel))

    async def history(self, channel: str) -> list[StoredMessage]:
        """Return the stored messages of *channel*, oldest first."""
        with _rejection_is_unavailable(channel):
            entries = await self._redis.call("XREVRANGE", self._key(channel), "+", "-", "COUNT", self._config.history)
        return [
            StoredMessage(entry_id.decode(), fields[1])
            for entry_id, fields in reversed(entries)
            if fields[0] == b"json"  # other clients of Redis may have added others
        ]

    async def check_health(self) -> None:
        """Return when every required server replies; raises RedisUnavailable."""
        await self._redis.probe()

    def _key(self, channel: str) -> bytes:
        return self._prefix + channel.encode()


@contextmanager
def _rejection_is_unavailable(channel: str) -> Generator[None, None, None]:
    """Raise Unavailable when Redis rejects a command: the ACL forbids it, or the key holds another type."""
    try:
        yield
    except ReplyError as error:
        raise Unavailable(f"redis rejects a command for channel {channel!r}: {error}") from error


@asynccontextmanager
async def open_redis_transport(
    connections: Connections, receiver: Receiver, config: BroadcastConfig
) -> AsyncGenerator[RedisTransport, None]:
    """Connect to the Redis of *config* and pass its messages to *receiver* while inside."""
    prefix = len(config.prefix.encode()) + 1

    def on_message(channel: bytes, data: bytes) -> None:
        head, _, json = data.partition(b" ")
        message_id = head.decode(errors="replace")
        if json and parse_message_id(message_id):  # other clients of Redis may have published something else
            receiver.on_message(channel[prefix:].decode(errors="replace"), StoredMessage(message_id, json))

    def on_interrupted(channel: bytes) -> None:
        receiver.on_interrupted(channel[prefix:].decode(errors="replace"))

    async with (
        connections.open(config.url.reveal(), timeout=config.redis_timeout) as redis,
        redis.pubsub(PubSubListener(on_message, on_interrupted)) as subscriptions,
    ):
        yield RedisTransport(redis, subscriptions, config)
