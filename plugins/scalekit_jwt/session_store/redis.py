"""Session store in Redis, where each write is acknowledged by a replica before the response.

A failover loses writes that only the primary has, and a lost rotation would make a used refresh token valid again. So
each write is followed by ``WAIT``, and none is sent twice: a repeated rotation would look like token reuse.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from scalekit import Unavailable
from scalekit.contracts import SubjectIdentifier
from scalekit_jwt.session_store import Revocation, Rotation, RotationOutcome, SessionRecord, TokenSession, version_at
from scalekit_redis import Connections, Redis, RedisUnavailable, ReplyError

TIMEOUT = 2.0
"""Seconds to wait for a reply."""
REPLICA_ACK_TIMEOUT = 1.0
"""Seconds to wait for the acknowledgement of a replica, in addition."""
PREFIX = "{scalekit:jwt}:"
VERSIONS = f"{PREFIX}versions"
"""Sorted set of subject identifiers, scored by version."""
SESSIONS_OF = f"{PREFIX}sessions:"
"""Prefix of the sorted set of each subject: its sessions, scored by when they expire, in milliseconds."""
OVERLAP = 1000

_ADD_TO_SUBJECT = """
local function add_to_subject(key, family, expires, now)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZADD', key, expires, family)
  redis.call('PEXPIREAT', key, string.format('%.0f', redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]))
end
"""
_CREATE = (
    _ADD_TO_SUBJECT
    + """
redis.call('HSET', KEYS[1], 'jti', ARGV[2], 'previous', '', 'delivered_at', '0', 'expires', ARGV[3],
  'subject', ARGV[5], 'version', ARGV[6], 'created', ARGV[7])
redis.call('PEXPIREAT', KEYS[1], ARGV[3])
add_to_subject(KEYS[2], ARGV[1], ARGV[3], ARGV[4])
return 1
"""
)
_SESSIONS = """
local version = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0)
local found = {}
for _, family in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local session = redis.call('HMGET', ARGV[4] .. family, 'created', 'delivered_at', 'expires', 'version')
  if session[3] and tonumber(session[4] or 0) >= version then
    table.insert(found, {family, session[1] or '0', session[2], session[3]})
  end
end
return found
"""
_ROTATE = (
    _ADD_TO_SUBJECT
    + """
local version = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0)
local found = redis.call('HMGET', KEYS[1], 'jti', 'previous', 'delivered_at', 'expires')
if not found[1] or tonumber(ARGV[2]) < version then return {'ended', '', '0'} end
if found[1] == ARGV[3] then
  redis.call('HSET', KEYS[1], 'jti', ARGV[4], 'previous', ARGV[3], 'delivered_at', '0', 'expires', ARGV[7])
  redis.call('PEXPIREAT', KEYS[1], ARGV[7])
  add_to_subject(KEYS[3], ARGV[8], ARGV[7], ARGV[9])
  return {'rotated', ARGV[4], ARGV[7]}
end
local delivered_at = tonumber(found[3])
if found[2] == ARGV[3] and (delivered_at == 0 or tonumber(ARGV[5]) - delivered_at <= tonumber(ARGV[6])) then
  redis.call('HSET', KEYS[1], 'jti', found[1])
  return {'repeated', found[1], found[4]}
end
return {'reused', '', '0'}
"""
)
_MARK_DELIVERED = """
local found = redis.call('HMGET', KEYS[1], 'jti', 'delivered_at')
if found[1] == ARGV[1] and tonumber(found[2]) == 0 then
  redis.call('HSET', KEYS[1], 'delivered_at', ARGV[2])
end
return 1
"""
_REVOKE = """
if ARGV[1] == 'session' then
  local subject = redis.call('HGET', KEYS[3], 'subject')
  if subject then redis.call('ZREM', ARGV[7] .. subject, ARGV[3]) end
  redis.call('DEL', KEYS[3])
end
local version = 0
if ARGV[1] == 'subject' then
  version = math.max(tonumber(ARGV[5]), tonumber(redis.call('ZSCORE', KEYS[4], ARGV[6]) or 0) + 1)
  redis.call('ZADD', KEYS[4], version, ARGV[6])
  redis.call('DEL', ARGV[7] .. ARGV[6])
end
local number = redis.call('INCR', KEYS[2])
redis.call('ZADD', KEYS[1], number, cjson.encode({number, ARGV[1], ARGV[2], ARGV[3], version, tonumber(ARGV[4])}))
return number
"""


class RedisSessionStore:
    """Stores sessions in *redis*."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def version_of(self, subject: SubjectIdentifier) -> int:
        """Return the version with which new sessions of *subject* start."""
        return int(await self._read("ZSCORE", VERSIONS, subject.text) or 0)

    async def create(self, session: TokenSession, now: float) -> None:
        """Store a new session that starts at *now*."""
        subject, expires = session.subject.text, int(session.expires * 1000)
        keys = (_family(session.family), f"{SESSIONS_OF}{subject}")
        values = (session.family, session.jti, expires, int(now * 1000), subject, session.version, repr(now))
        await self._write([("EVAL", _CREATE, 2, *keys, *values)])

    async def sessions_of(self, subject: SubjectIdentifier, now: float, limit: int) -> Sequence[SessionRecord]:
        """Return at most *limit* sessions of *subject* that have not ended, the last to expire first."""
        keys = (f"{SESSIONS_OF}{subject.text}", VERSIONS)
        rows = await self._read("EVAL", _SESSIONS, 2, *keys, subject.text, int(now * 1000), limit, _family(""))
        return [
            SessionRecord(family.decode(), float(created), float(refreshed), int(expires) / 1000)
            for family, created, refreshed, expires in rows
        ]

    async def rotate(
        self, session: TokenSession, successor: str, *, now: float, grace: float, expires: float
    ) -> Rotation:
        """Replace ``session.jti`` by *successor* if it is the newest, atomically in one script."""
        subject = session.subject.text
        keys = (_family(session.family), VERSIONS, f"{SESSIONS_OF}{subject}")
        values = (subject, session.version, session.jti, successor, repr(now), grace, int(expires * 1000))
        (reply,) = await self._write([("EVAL", _ROTATE, 3, *keys, *values, session.family, int(now * 1000))])
        outcome, jti, ends = (each.decode() for each in reply)
        return Rotation(RotationOutcome(outcome), jti, int(ends) / 1000)

    async def mark_delivered(self, family: str, jti: str, now: float) -> None:
        """Record that *jti* is sent to the client, without waiting for a replica: losing the record is harmless."""
        await self._read("EVAL", _MARK_DELIVERED, 1, _family(family), jti, repr(now))

    async def end(self, family: str, now: float, until: float) -> None:
        """End a session and revoke its access tokens, the last of which expires at *until*."""
        await self._revoke("session", "", family, until)

    async def revoke(self, issuer: str, jti: str, until: float) -> None:
        """Revoke one token until it expires at *until*."""
        await self._revoke("token", issuer, jti, until)

    async def revoke_all(self, subject: SubjectIdentifier, now: float, until: float) -> None:
        """Revoke all sessions of *subject*."""
        await self._revoke("subject", subject.issuer, subject.subject, until, version_at(now))

    async def revocations(self, after: int, now: float) -> Sequence[Revocation]:
        """Return the revocations in effect that may be newer than the one with the number *after*."""
        newest = int(await self._read("GET", f"{PREFIX}number") or 0)
        lowest = after - OVERLAP if newest >= after else 0  # a server that lost its data starts to count at 1
        rows = await self._read("ZRANGEBYSCORE", f"{PREFIX}revocations", lowest, "+inf")
        found = [Revocation(*orjson.loads(row)) for row in rows]
        return [each for each in found if each.expires > now]

    async def mark_proof_used(self, proof: str, now: float, until: float) -> bool:
        """Store *proof*; return whether this is its first use.

        No replica is awaited: after a failover a lost proof could be replayed once, within its short lifetime.
        """
        args = ("SET", f"{PREFIX}proof:{proof}", "", "NX", "PX", max(1, int((until - now) * 1000)))
        return await self._read(*args) is not None

    async def remove_expired(self, now: float, oldest: float) -> None:
        """Remove expired revocations and versions from before *oldest*; sessions and proofs have a Redis TTL."""
        await self._read("ZREMRANGEBYSCORE", VERSIONS, "-inf", version_at(oldest))
        key = f"{PREFIX}revocations"
        for row in await self._read("ZRANGE", key, 0, OVERLAP):
            if Revocation(*orjson.loads(row)).expires <= now:
                await self._read("ZREM", key, row)

    async def _revoke(self, kind: str, issuer: str, value: str, until: float, version: int = 0) -> None:
        member = SubjectIdentifier(issuer, value).text
        keys = (f"{PREFIX}revocations", f"{PREFIX}number", _family(value), VERSIONS)
        await self._write([("EVAL", _REVOKE, 4, *keys, kind, issuer, value, repr(until), version, member, SESSIONS_OF)])

    async def _read(self, *args: Any) -> Any:
        try:
            return await self._redis.call(*args, timeout=TIMEOUT)
        except ReplyError as error:
            raise _rejected(error) from None

    async def _write(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send *commands* together; raises Unavailable unless a replica acknowledges them."""
        replies = await self._redis.write_acknowledged(commands, ack_timeout=REPLICA_ACK_TIMEOUT, timeout=TIMEOUT)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise _rejected(reply)
            if isinstance(reply, RedisUnavailable):
                raise reply
        return replies


def _rejected(error: ReplyError) -> Unavailable:
    return Unavailable(f"Redis with the sessions rejects a command: {error.code}")


@asynccontextmanager
async def open_redis_store(connections: Connections, url: str) -> AsyncGenerator[RedisSessionStore, None]:
    """Yield the session store at *url*."""
    async with connections.open(url, timeout=TIMEOUT) as redis:
        yield RedisSessionStore(redis)


def _family(family: str) -> str:
    return f"{PREFIX}session:{family}"
