"""A shared cache store in Redis, a standalone server or a cluster.

Tags and the versions of their last purges are members of one sorted set, scored by version: a script purges all tags at
once, and nothing has to be searched for or deleted. A version is the time in microseconds, or one more than the last:
even if Redis loses data, a later purge has a higher version. When the set is lost, or was trimmed because it grew too
long, tagged items that are older than its floor count as purged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from scalekit_caching.shared_store import ChangeListener, LeaseName
from scalekit_redis import (
    InvalidationListener,
    Redis,
    RedisUnavailable,
    ReplyError,
    Script,
    key_in_slot,
    parse_cluster_slots,
)

VERSIONS_TTL = 31 * 86400.0
"""TTL of tag versions after the last purge, in seconds; longer than that of any item."""
MAX_TAGS = 100_000
"""Maximum number of tags whose version is stored."""
SCAN_COUNT = 500
"""Keys that one step of a scan visits."""
OPERATOR_TIMEOUT = 5.0
"""Timeout in seconds of a step of a scan; only commands of an operator wait for it."""
VERSION, FLOOR = b"#number", b"#floor"

_INIT = """\
local key = KEYS[1]
local now = redis.call('TIME')
local number = now[1] * 1000000 + now[2]
local function text(value) return string.format('%.0f', value) end
local last = redis.call('TYPE', key).ok == 'zset' and redis.call('ZSCORE', key, '#number')
if not last then
  redis.call('DEL', key)
  redis.call('ZADD', key, text(number), '#number', text(number), '#floor')
end
redis.call('PEXPIRE', key, ARGV[1])
"""
INIT_VERSION = Script(_INIT + "return text(last and tonumber(last) or number)")
PURGE = Script(
    _INIT
    + """\
if last then number = math.max(number, tonumber(last) + 1) else number = number + 1 end
for place = 3, #ARGV do redis.call('ZADD', key, text(number), ARGV[place]) end
redis.call('ZADD', key, text(number), '#number')
local more = redis.call('ZCARD', key) - ARGV[2]
if more > 0 then
  local newest = redis.call('ZRANGE', key, more + ARGV[2] / 10, more + ARGV[2] / 10, 'WITHSCORES')[2]
  redis.call('ZREMRANGEBYSCORE', key, '-inf', newest)
  redis.call('ZADD', key, newest, '#floor', text(number), '#number')
end
return text(number)
"""
)
ACQUIRE_LEASE = Script(
    """\
local function take() return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) end
local taken = take()
if not taken and redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('DEL', KEYS[1])
  taken = take()
end
local found = redis.pcall('GET', KEYS[2])
return {taken and 1 or 0, type(found) == 'string' and found}
"""
)
PUT_AND_RELEASE = Script(
    """\
local reply = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.pcall('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
return reply
"""
)
RELEASE_LEASE = Script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")


class RedisStore:
    """Items under keys that begin with *prefix*; the versions of at most *max_tags* tags are stored."""

    def __init__(self, redis: Redis, prefix: str, max_tags: int = MAX_TAGS) -> None:
        self._redis = redis
        self._items = prefix.encode() + b":item:"
        self._prefix = prefix.encode()
        self._purges = b"{" + prefix.encode() + b"}:purges"
        self._max_tags = max_tags
        self._get_version = ("ZSCORE", self._purges, VERSION)

    def start_get(self, key: bytes) -> asyncio.Future[Any]:
        """Send the GET for *key* at once, without a check of tag versions; :meth:`read_reply` reads the reply."""
        return self._redis.get(self._items + key)

    def read_reply(self, reply: asyncio.Future[Any]) -> bytes | None:
        """Return the item in *reply*, or None."""
        error = reply.exception()
        if isinstance(error, ReplyError):
            return self.item_in_reply(error)
        found: bytes | None = reply.result()
        return found

    @staticmethod
    def item_in_reply(reply: Any) -> bytes | None:
        """Return the item in *reply*; a key of another type counts as a corrupt item."""
        if _is_wrong_type(reply):
            return b""
        item: bytes | None = _raise(reply)
        return item

    async def get_many(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], int]:
        """Return the items under *keys*, and the version of the last purge, in one round trip."""
        prefix = self._items
        *items, version = await self._redis.pipeline([*[("GET", prefix + key) for key in keys], self._get_version])
        return [self.item_in_reply(item) for item in items], await self._ensure_version(version)

    async def put_many(self, items: Mapping[bytes, bytes], ttls: Sequence[float]) -> None:
        """Store each of *items* under its key for its TTL in seconds."""
        commands = [
            ("SET", self._items + key, data, "PX", max(1, int(ttl * 1000)))
            for (key, data), ttl in zip(items.items(), ttls, strict=True)
        ]
        for reply in await self._redis.pipeline(commands):
            _raise(reply)

    def start_put(self, key: bytes, data: bytes, ttl: float) -> asyncio.Future[None]:
        """Send the SET of *data* at once."""
        return self._redis.call("SET", self._items + key, data, "PX", max(1, int(ttl * 1000)))

    def start_put_and_release(self, lease: LeaseName, token: bytes, data: bytes, ttl: float) -> asyncio.Future[None]:
        """Store *data* under the name of *lease* and release the lease in one step, sent at once."""
        keys = (self._items + lease.name, self._lease_key(lease))
        args = (data, max(1, int(ttl * 1000)), token)
        # EVAL: an EVALSHA that has to be sent again would overwrite a later write to the same key.
        return self._redis.start_script(PUT_AND_RELEASE, keys, args, use_eval=True)

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Delete *keys*."""
        if keys:
            await self._redis.delete(*[self._items + key for key in keys])

    async def version(self, timeout: float | None = None) -> int:
        """Return the version of the last purge; *timeout* in seconds replaces the default."""
        (version,) = await self._redis.pipeline([self._get_version], timeout=timeout)
        return await self._ensure_version(version)

    async def tag_versions(self, tags: Sequence[bytes]) -> Sequence[int]:
        """Return the version of the last purge of each of *tags*, at least that of the tag dropped last."""
        scores = await self._redis.pipeline([("ZSCORE", self._purges, tag) for tag in (FLOOR, *tags)])
        floor, *versions = [_version(score) for score in scores]
        return [max(floor, version) for version in versions]

    async def purges_after(self, version: int, timeout: float) -> Mapping[bytes, int] | None:
        """Return the tags purged after *version* with their versions; None when not all are known any more.

        The query may take *timeout* seconds.
        """
        floor, pairs = await self._redis.pipeline(
            [("ZSCORE", self._purges, FLOOR), ("ZRANGEBYSCORE", self._purges, f"({version}", "+inf", "WITHSCORES")],
            timeout=timeout,
        )
        if floor is None or _is_wrong_type(floor) or _version(floor) > version:
            return None
        if pairs and not isinstance(_raise(pairs)[0], list):  # RESP2 has no pairs
            pairs = zip(pairs[::2], pairs[1::2], strict=True)
        return {tag: _version(score) for tag, score in _raise(pairs) if tag not in (VERSION, FLOOR)}

    async def purge(self, tags: Sequence[bytes]) -> int:
        """Assign the next version to *tags*, atomically; return it."""
        ttl = int(VERSIONS_TTL * 1000)
        return _version(await self._redis.run_script(PURGE, [self._purges], [ttl, self._max_tags, *tags]))

    async def scan(self) -> AsyncGenerator[list[bytes], None]:
        """Yield all keys in batches, server by server."""
        pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", self._items) + b"*"
        for server_key in await self._server_keys():
            cursor = b"0"
            while True:
                cursor, keys = await self._redis.call(
                    "SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, key=server_key, timeout=OPERATOR_TIMEOUT
                )
                yield [key.removeprefix(self._items) for key in keys]
                if cursor == b"0":
                    break

    async def get_heads(self, keys: Sequence[bytes], size: int) -> list[bytes | None]:
        """Return the first *size* bytes of the items under *keys*."""
        commands = [("GETRANGE", self._items + key, 0, size - 1) for key in keys]
        replies = await self._redis.pipeline(commands, timeout=OPERATOR_TIMEOUT) if commands else []
        return [self.item_in_reply(reply) or None for reply in replies]

    async def _server_keys(self) -> list[bytes]:
        """Return one key for each server, which routes a command to that server."""
        try:
            found = parse_cluster_slots(await self._redis.call("CLUSTER", "SLOTS", timeout=OPERATOR_TIMEOUT), ("", 0))
        except ReplyError:  # no cluster
            return [self._purges]
        firsts = {shard.primary: shard.first for shard in found}
        return [key_in_slot(slot) for slot in firsts.values()]

    async def acquire_lease(self, lease: LeaseName, token: bytes, ttl: float) -> tuple[bool, bytes | None]:
        """Acquire *lease* for *ttl* seconds; return whether *token* holds it, and the item as read after that."""
        keys = (self._lease_key(lease), self._items + lease.name)
        acquired, item = await self._redis.start_script(ACQUIRE_LEASE, keys, (token, max(1, int(ttl * 1000))))
        return bool(acquired), item

    def release_lease(self, lease: LeaseName, token: bytes) -> None:
        """Release the lease if *token* holds it, sent at once; a failure leaves it to expire."""
        with suppress(RedisUnavailable):
            self._redis.start_script(RELEASE_LEASE, (self._lease_key(lease),), (token,)).add_done_callback(_retrieve)

    def _lease_key(self, lease: LeaseName) -> bytes:
        """Return a key in the slot of the item: on a cluster one server has both."""
        return b"%b:lease:{%b}%b" % (self._prefix, self._items + lease.name, lease.variant)

    @asynccontextmanager
    async def subscribe(self, listener: ChangeListener) -> AsyncGenerator[None, None]:
        """Report changes to *listener* while inside."""

        def on_invalidate(keys: list[bytes]) -> None:
            start = len(self._items)
            changed = [key[start:] for key in keys if key.startswith(self._items)]
            if changed:
                listener.on_change(changed)
            if self._purges in keys:
                listener.on_purge()

        callbacks = InvalidationListener(listener.on_start, on_invalidate, listener.on_lost)
        async with self._redis.tracking((self._items, self._purges), callbacks):
            yield

    async def probe(self) -> None:
        """Return when Redis replies."""
        await self._redis.probe()

    async def _ensure_version(self, version: Any) -> int:
        """Return *version*; initialize it where it is missing, before the first purge or after a loss of data."""
        if version is None or _is_wrong_type(version):
            version = await self._redis.run_script(INIT_VERSION, [self._purges], [int(VERSIONS_TTL * 1000)])
        return _version(version)


def _retrieve(reply: asyncio.Future[Any]) -> None:
    """Retrieve the exception, so that asyncio does not log it."""
    if not reply.cancelled():
        reply.exception()


def _version(score: Any) -> int:
    return 0 if score is None else int(float(_raise(score)))


def _is_wrong_type(reply: object) -> bool:
    return isinstance(reply, ReplyError) and reply.code == "WRONGTYPE"


def _raise(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply
