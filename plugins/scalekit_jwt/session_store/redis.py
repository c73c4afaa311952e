"""Sessions on Redis, where a replica has them too before anybody is told.

A failover loses what only the primary had, and with it that a token was used. So each change waits, on the connection
that made it, until a replica has acknowledged it: ``WAIT`` holds a connection up, so this one is not shared.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from scalekit.contracts import SubjectIdentifier
from scalekit.resilience import Unavailable
from scalekit_jwt.session_store import Revocation, Rotation, RotationOutcome, Session, version_at

DEADLINE = 2.0
REPLICA_ACK_TIMEOUT_MS = 1000
"""Milliseconds that a replica has to acknowledge."""
CONNECTIONS = 10
PREFIX = "{scalekit:jwt}:"
VERSIONS = f"{PREFIX}versions"
"""Texts of subjects, sorted by their version."""
OVERLAP = 1000

_ROTATE = """
local version = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0)
local found = redis.call('HMGET', KEYS[1], 'jti', 'previous', 'since', 'expires')
if not found[1] or tonumber(ARGV[2]) < version then return {'gone', '', '0'} end
if found[1] == ARGV[3] then
  redis.call('HSET', KEYS[1], 'jti', ARGV[4], 'previous', ARGV[3], 'since', '0', 'expires', ARGV[7])
  redis.call('PEXPIREAT', KEYS[1], ARGV[7])
  return {'rotated', ARGV[4], ARGV[7]}
end
local since = tonumber(found[3])
if found[2] == ARGV[3] and (since == 0 or tonumber(ARGV[5]) - since <= tonumber(ARGV[6])) then
  redis.call('HSET', KEYS[1], 'jti', found[1])
  return {'repeated', found[1], found[4]}
end
return {'theft', '', '0'}
"""
_ANSWERED = """
local found = redis.call('HMGET', KEYS[1], 'jti', 'since')
if found[1] == ARGV[1] and tonumber(found[2]) == 0 then redis.call('HSET', KEYS[1], 'since', ARGV[2]) end
return 1
"""
_REVOKE = """
if ARGV[1] == 'session' then redis.call('DEL', KEYS[3]) end
local version = 0
if ARGV[1] == 'subject' then
  version = math.max(tonumber(ARGV[5]), tonumber(redis.call('ZSCORE', KEYS[4], ARGV[6]) or 0) + 1)
  redis.call('ZADD', KEYS[4], version, ARGV[6])
end
local number = redis.call('INCR', KEYS[2])
redis.call('ZADD', KEYS[1], number, cjson.encode({number, ARGV[1], ARGV[2], ARGV[3], version, tonumber(ARGV[4])}))
return number
"""


class RedisSessionStore:
    """Remembers on *redis*."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis

    async def version_of(self, subject: SubjectIdentifier) -> int:
        """Return the version that new sessions of *subject* begin with."""
        return int(await self._read("ZSCORE", VERSIONS, subject.text) or 0)

    async def begin(self, session: Session) -> None:
        """Remember a new session."""
        key = _family(session.family)
        expires = int(session.expires * 1000)
        fields = ("jti", session.jti, "previous", "", "since", "0", "expires", expires)
        await self._write([("HSET", key, *fields), ("PEXPIREAT", key, expires)])

    async def rotate(self, session: Session, successor: str, now: float, grace: float, expires: float) -> Rotation:
        """Put *successor* in the place of ``session.jti``, if that is the newest: one script, so one can."""
        keys = (_family(session.family), VERSIONS)
        values = (session.subject.text, session.version, session.jti, successor, repr(now), grace, int(expires * 1000))
        (reply,) = await self._write([("EVAL", _ROTATE, 2, *keys, *values)])
        outcome, jti, ends = (each.decode() for each in reply)
        return Rotation(RotationOutcome(outcome), jti, int(ends) / 1000)

    async def mark_delivered(self, family: str, jti: str, now: float) -> None:
        """Note that *jti* is handed out; no replica is waited for, since to forget it is no harm."""
        await self._read("EVAL", _ANSWERED, 1, _family(family), jti, repr(now))

    async def end(self, family: str, now: float, until: float) -> None:
        """End a session."""
        await self._revoke("session", "", family, until)

    async def revoke(self, issuer: str, jti: str, until: float) -> None:
        """End one token."""
        await self._revoke("token", issuer, jti, until)

    async def revoke_all(self, subject: SubjectIdentifier, now: float, until: float) -> None:
        """End every session of *subject*."""
        await self._revoke("subject", subject.issuer, subject.subject, until, version_at(now))

    async def revocations(self, after: int, now: float) -> Sequence[Revocation]:
        """Return the revocations that may have come after the one with the number *after*, and still count."""
        newest = int(await self._read("GET", f"{PREFIX}number") or 0)
        since = after - OVERLAP if newest >= after else 0  # a server that has lost them counts anew
        rows = await self._read("ZRANGEBYSCORE", f"{PREFIX}revocations", since, "+inf")
        found = [Revocation(*orjson.loads(row)) for row in rows]
        return [each for each in found if each.expires > now]

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Remember *proof*; tell whether it is used for the first time.

        No replica is waited for: what a failover forgets is for one request again, and only for a moment.
        """
        words = ("SET", f"{PREFIX}proof:{proof}", "", "NX", "PX", max(1, int((until - now) * 1000)))
        return await self._read(*words) is not None

    async def sweep(self, now: float, oldest: float) -> None:
        """Forget the revocations that are over; sessions and proofs end by themselves."""
        await self._read("ZREMRANGEBYSCORE", VERSIONS, "-inf", version_at(oldest))
        key = f"{PREFIX}revocations"
        for row in await self._read("ZRANGE", key, 0, OVERLAP):
            if Revocation(*orjson.loads(row)).expires <= now:
                await self._read("ZREM", key, row)

    async def _revoke(self, kind: str, issuer: str, value: str, until: float, version: int = 0) -> None:
        member = SubjectIdentifier(issuer, value).text
        keys = (f"{PREFIX}revocations", f"{PREFIX}number", _family(value), VERSIONS)
        await self._write([("EVAL", _REVOKE, 4, *keys, kind, issuer, value, repr(until), version, member)])

    async def _read(self, *words: Any) -> Any:
        try:
            return await self._redis.execute_command(*words)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis, which has the sessions, fails: {type(error).__name__}") from None

    async def _write(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send *commands* over one connection; raises Unavailable unless a replica has them too."""
        try:
            async with self._redis.client() as connection:
                replies = [await connection.execute_command(*words) for words in commands]
                acknowledged = await connection.execute_command("WAIT", 1, REPLICA_ACK_TIMEOUT_MS)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"Redis, which has the sessions, fails: {type(error).__name__}") from None
        if acknowledged < 1:
            raise Unavailable("no replica of Redis has acknowledged a session in time")
        return replies


@asynccontextmanager
async def open_redis_store(url: str) -> AsyncGenerator[RedisSessionStore, None]:
    """Give the sessions at *url*."""
    never = Retry(NoBackoff(), 0)  # what was sent twice would look like theft, and a new connection waits for nothing
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=DEADLINE,
        socket_timeout=DEADLINE,
        socket_connect_timeout=DEADLINE,
        retry=never,
    )
    redis: Any = Redis.from_pool(pool)
    try:
        yield RedisSessionStore(redis)
    finally:
        await redis.aclose()


def _family(family: str) -> str:
    return f"{PREFIX}session:{family}"
