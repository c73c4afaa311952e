"""A store in Redis, one server or a cluster.

Tags and their last purges are members of one sorted set, scored by number, so that a script purges all at once and
nothing has to be searched for or deleted. The number is the time in microseconds or one more than the last: whatever
Redis forgets or loses, a later purge has a higher one. Where the set is gone, or was cut because it grew too long,
what has tags and is older than its floor counts as purged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from scalekit_caching.shared_store import ChangeListener, LeaseName
from scalekit_redis import InvalidationListener, Redis, RedisUnavailable, ReplyError, Script
from scalekit_redis.slots import key_in, shards

LIFE = 31 * 86400.0
"""Seconds for which purges are remembered after the last: longer than anything is kept."""
MOST_TAGS = 100_000
"""Tags whose last purge is remembered."""
SCANNED = 500
"""Keys that one step of a scan looks at."""
PATIENCE = 5.0
"""Seconds that a step of a scan may take: nobody but an operator waits for it."""
NUMBER, FLOOR = b"#number", b"#floor"

_BEGIN = """\
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
BEGIN = Script(_BEGIN + "return text(last and tonumber(last) or number)")
ADVANCE = Script(
    _BEGIN
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
ACQUIRE = Script(
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
KEEP_AND_RELEASE = Script(
    """\
local kept = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.pcall('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
return kept
"""
)
RELEASE = Script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")


class RedisStore:
    """Items under keys that begin with *prefix*; at most *most_tags* purges are remembered."""

    def __init__(self, redis: Redis, prefix: str, most_tags: int = MOST_TAGS) -> None:
        self._redis = redis
        self._items = prefix.encode() + b":item:"
        self._prefix = prefix.encode()
        self._purges = b"{" + prefix.encode() + b"}:purges"
        self._most_tags = most_tags
        self._number_words = ("ZSCORE", self._purges, NUMBER)

    def start_get(self, key: bytes) -> asyncio.Future[Any]:
        """Send the GET for *key* at once, without checking tag versions; :meth:`read_reply` reads the reply."""
        return self._redis.get(self._items + key)

    def read_reply(self, reply: asyncio.Future[Any]) -> bytes | None:
        """Return what has come with *reply*."""
        error = reply.exception()
        if isinstance(error, ReplyError):
            return frame_of(error)
        found: bytes | None = reply.result()
        return found

    async def get(self, keys: Sequence[bytes]) -> tuple[list[bytes | None], int]:
        """Return what is under each of *keys*, and the number of the last purge, all in one trip."""
        prefix = self._items
        *frames, number = await self._redis.pipeline([*[("GET", prefix + key) for key in keys], self._number_words])
        return [frame_of(frame) for frame in frames], await self._begun(number)

    async def put(self, frames: Mapping[bytes, bytes], seconds: Sequence[float]) -> None:
        """Keep each of *frames* under its key for so many *seconds*."""
        commands = [
            ("SET", self._items + key, frame, "PX", max(1, int(life * 1000)))
            for (key, frame), life in zip(frames.items(), seconds, strict=True)
        ]
        for reply in await self._redis.pipeline(commands):
            _raise(reply)

    def start_put(self, key: bytes, frame: bytes, seconds: float) -> asyncio.Future[None]:
        """Begin at once to keep *frame* under *key*."""
        return self._redis.call("SET", self._items + key, frame, "PX", max(1, int(seconds * 1000)))

    def start_put_and_release(
        self, lease: LeaseName, token: bytes, frame: bytes, seconds: float
    ) -> asyncio.Future[None]:
        """Begin at once to keep *frame* under the name of *lease*, and to end that in the same step."""
        keys = (self._items + lease.name, self._lease_key(lease))
        args = (frame, max(1, int(seconds * 1000)), token)
        # By its source: sent again, it would overtake what is kept under the same name meanwhile.
        return self._redis.begin(KEEP_AND_RELEASE, keys, args, by_source=True)

    async def delete(self, keys: Sequence[bytes]) -> None:
        """Forget what is under *keys*."""
        if keys:
            await self._redis.delete(*[self._items + key for key in keys])

    async def number(self, deadline: float | None = None) -> int:
        """Return the number of the last purge, within *deadline* seconds where they are given."""
        (number,) = await self._redis.pipeline([self._number_words], deadline=deadline)
        return await self._begun(number)

    async def numbers(self, tags: Sequence[bytes]) -> Sequence[int]:
        """Return the number of the last purge of each of *tags*; where none is known, that of the last forgotten."""
        scores = await self._redis.pipeline([("ZSCORE", self._purges, tag) for tag in (FLOOR, *tags)])
        floor, *numbers = [_number(score) for score in scores]
        return [max(floor, number) for number in numbers]

    async def purges(self, since: int, deadline: float) -> Mapping[bytes, int] | None:
        """Return the tags that were purged after the purge *since*, with their numbers; None when not all are known.

        That may take *deadline* seconds.
        """
        floor, pairs = await self._redis.pipeline(
            [("ZSCORE", self._purges, FLOOR), ("ZRANGEBYSCORE", self._purges, f"({since}", "+inf", "WITHSCORES")],
            deadline=deadline,
        )
        if floor is None or _is_of_another_type(floor) or _number(floor) > since:
            return None
        if pairs and not isinstance(_raise(pairs)[0], list):  # RESP2 has no pairs
            pairs = zip(pairs[::2], pairs[1::2], strict=True)
        return {tag: _number(score) for tag, score in _raise(pairs) if tag not in (NUMBER, FLOOR)}

    async def advance(self, tags: Sequence[bytes]) -> int:
        """Give the next number to a purge of *tags*, all at once."""
        life = int(LIFE * 1000)
        return _number(await self._redis.script(ADVANCE, [self._purges], [life, self._most_tags, *tags]))

    async def scan(self) -> AsyncGenerator[list[bytes], None]:
        """Yield the keys of all that is there, of one server after the other."""
        pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", self._items) + b"*"
        for place in await self._places():
            cursor = b"0"
            while True:
                cursor, keys = await self._redis.call(
                    "SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED, key=place, deadline=PATIENCE
                )
                yield [key.removeprefix(self._items) for key in keys]
                if cursor == b"0":
                    break

    async def heads(self, keys: Sequence[bytes], size: int) -> list[bytes | None]:
        """Return the first *size* bytes of what is under each of *keys*."""
        words = [("GETRANGE", self._items + key, 0, size - 1) for key in keys]
        replies = await self._redis.pipeline(words, deadline=PATIENCE) if words else []
        return [frame_of(reply) or None for reply in replies]

    async def _places(self) -> list[bytes]:
        """Return one key for each server, which is with that server."""
        try:
            found = shards(await self._redis.call("CLUSTER", "SLOTS", deadline=PATIENCE), ("", 0))
        except ReplyError:  # no cluster
            return [self._purges]
        firsts = {shard.primary: shard.first for shard in found}
        return [key_in(slot) for slot in firsts.values()]

    async def acquire(self, lease: LeaseName, token: bytes, seconds: float) -> tuple[bool, bytes | None]:
        """Tell whether *token* has the lease now, for so many *seconds*, and return what is there after that."""
        keys = (self._lease_key(lease), self._items + lease.name)
        taken, frame = await self._redis.begin(ACQUIRE, keys, (token, max(1, int(seconds * 1000))))
        return bool(taken), frame

    def release(self, lease: LeaseName, token: bytes) -> None:
        """Begin at once to end the lease, if *token* still has it; one that cannot be ended runs out."""
        with suppress(RedisUnavailable):
            self._redis.begin(RELEASE, (self._lease_key(lease),), (token,)).add_done_callback(_heard)

    def _lease_key(self, lease: LeaseName) -> bytes:
        """Return a key in the slot of what is to be made: on a cluster, both are with one server."""
        return b"%b:lease:{%b}%b" % (self._prefix, self._items + lease.name, lease.variant)

    @asynccontextmanager
    async def follow(self, listener: ChangeListener) -> AsyncGenerator[None, None]:
        """Let *listener* hear of changes while inside."""

        def invalidated(keys: list[bytes]) -> None:
            start = len(self._items)
            changed = [key[start:] for key in keys if key.startswith(self._items)]
            if changed:
                listener.changed(changed)
            if self._purges in keys:
                listener.purged()

        hearing = InvalidationListener(listener.begun, invalidated, listener.ended)
        async with self._redis.tracking((self._items, self._purges), hearing):
            yield

    async def probe(self) -> None:
        """Return when Redis answers."""
        await self._redis.probe()

    async def _begun(self, number: Any) -> int:
        """Return *number*; where there is none, because nothing was purged yet or it is lost, begin to count."""
        if number is None or _is_of_another_type(number):
            number = await self._redis.script(BEGIN, [self._purges], [int(LIFE * 1000)])
        return _number(number)


def _heard(reply: asyncio.Future[Any]) -> None:
    """Take a reply that changes nothing, so that nobody misses it."""
    if not reply.cancelled():
        reply.exception()


def _number(score: Any) -> int:
    return 0 if score is None else int(float(_raise(score)))


def frame_of(reply: Any) -> bytes | None:
    """Return a frame; what is no text at all is one that nobody can read."""
    if _is_of_another_type(reply):
        return b""
    frame: bytes | None = _raise(reply)
    return frame


def _is_of_another_type(reply: Any) -> bool:
    return isinstance(reply, ReplyError) and reply.code == "WRONGTYPE"


def _raise(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply
