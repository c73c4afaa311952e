"""Store in Redis: keys are claimed by a lease, which is extended while the request runs.

A process that dies after the writes of its request and before the response is stored leaves a lease that expires: the
next request is executed again. Only the owner of a lease stores a response, by a token that no other claim has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import orjson

from scalekit_idempotency.keyed_request import KeyedRequest
from scalekit_idempotency.recorded_response import RecordedResponse, decode_headers
from scalekit_idempotency.stores.contract import Claim, KeyInUse, Record
from scalekit_redis import Redis, RedisUnavailable, Script

logger = logging.getLogger("scalekit.idempotency")

PREFIX = "scalekit:idempotency:"
CLAIMED, STORED = b"claimed ", b"stored "

_CLAIM = Script("""
local found = redis.call('GET', KEYS[1])
if not found then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return found
""")
_STORE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")
_EXTEND = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
""")
_RELEASE = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 0
""")


class RedisClaim:
    """A lease on *key* with the value *claimed*; what the application writes is not undone with it."""

    has_open_work = False

    def __init__(self, redis: Redis, key: str, claimed: bytes, fingerprint: str) -> None:
        self._redis = redis
        self._key = key
        self._claimed = claimed
        self._fingerprint = fingerprint
        self.ttl = 0
        self.is_stored = False

    async def commit(self, response: RecordedResponse) -> None:
        """Store *response* unless the lease was lost; the request has had its effect in either case."""
        value = _encode(Record(self._fingerprint, response))
        try:
            self.is_stored = bool(
                await self._redis.run_script(_STORE, [self._key], [self._claimed, value, str(self.ttl)])
            )
        except RedisUnavailable as error:
            logger.warning("a response was not stored, so a repeated request may be executed again: %s", error)
            return
        if not self.is_stored:
            logger.warning("a response was not stored: its lease expired, and the request may be executed again")

    async def rollback(self) -> None:
        """Release the key."""
        if not self.is_stored:
            with suppress(RedisUnavailable):  # the lease expires
                await self._redis.run_script(_RELEASE, [self._key], [self._claimed])


class RedisIdempotencyStore:
    """Stores records for *ttl* seconds in *redis*; a key is claimed for *lease* seconds at a time."""

    def __init__(self, redis: Redis, ttl: float, lease: float) -> None:
        self._redis = redis
        self._ttl = max(1, int(ttl * 1000))
        self._lease = lease

    @asynccontextmanager
    async def claim(self, request: KeyedRequest) -> AsyncGenerator[Claim | Record, None]:
        """Claim the key of *request*, or return its record; raise KeyInUse while it is executed."""
        key = PREFIX + request.id
        claimed = CLAIMED + uuid4().bytes
        found = await self._redis.run_script(_CLAIM, [key], [claimed, str(int(self._lease * 1000))])
        if found is not None:
            if not found.startswith(STORED):
                raise KeyInUse
            yield _decode(found)
            return
        claim = RedisClaim(self._redis, key, claimed, request.fingerprint)
        claim.ttl = self._ttl
        renewal = asyncio.create_task(self._extend(key, claimed))
        try:
            yield claim
        finally:
            renewal.cancel()
            await claim.rollback()

    async def clean_up(self) -> int:
        """Return 0: Redis deletes expired keys itself, and limits its memory by its own settings."""
        return 0

    async def check(self) -> None:
        """Raise RedisUnavailable when Redis does not reply or accepts no writes."""
        await self._redis.probe()

    async def _extend(self, key: str, claimed: bytes) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            with suppress(RedisUnavailable):
                await self._redis.run_script(_EXTEND, [key], [claimed, str(int(self._lease * 1000))])


def _encode(record: Record) -> bytes:
    response = record.response
    head = orjson.dumps([record.fingerprint, response.status, response.encode_headers()])
    return STORED + head + b"\n" + response.body


def _decode(value: bytes) -> Record:
    head, _, body = value.removeprefix(STORED).partition(b"\n")
    fingerprint, status, headers = orjson.loads(head)
    return Record(fingerprint, RecordedResponse(status, decode_headers(headers), body))
