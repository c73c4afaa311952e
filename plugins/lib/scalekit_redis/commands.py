"""What is known of commands: which of them may be sent twice, which may not be sent at all, and where their key is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from scalekit_redis.script import Script

Word = str | bytes | int | float
Words = tuple[Word, ...]


class Command(NamedTuple):
    """A command, its first key if it has one, and whether it may be sent twice."""

    words: Words
    key: Word | None
    repeatable: bool


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


READONLY_COMMANDS = _names(
    """EXISTS GET GETRANGE HEXISTS HGET HGETALL HKEYS HLEN HMGET HVALS LINDEX LLEN LRANGE MGET PING PTTL SCARD SISMEMBER
    SMEMBERS SMISMEMBER STRLEN TIME TTL TYPE ZCARD ZCOUNT ZRANGE ZRANK ZSCORE"""
)
"""Commands that change nothing: one whose connection is lost before the reply is sent once more."""

STATEFUL = _names(
    """ASKING AUTH DISCARD EXEC HELLO MONITOR MULTI PSUBSCRIBE PSYNC PUNSUBSCRIBE QUIT READONLY READWRITE RESET SELECT
    SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE SYNC UNSUBSCRIBE UNWATCH WATCH"""
)
BLOCKING = _names("BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAIT WAITAOF")
PLAIN = READONLY_COMMANDS | _names("DEL EXPIRE HDEL HSET INCR INCRBY PEXPIRE SADD SET UNLINK ZADD")
"""Commands of which most are, whose key comes first: they need no second look."""
KEYLESS = _names(
    """ACL CLIENT CLUSTER COMMAND CONFIG DBSIZE ECHO FLUSHALL FLUSHDB FUNCTION INFO KEYS LASTSAVE LATENCY MODULE PING
    PUBLISH RANDOMKEY ROLE SCAN SCRIPT SLOWLOG TIME"""
)
KEY_AFTER_SUBCOMMAND = _names("MEMORY OBJECT XGROUP XINFO")
KEY_AFTER_COUNT = _names("EVAL EVALSHA EVALSHA_RO EVAL_RO FCALL FCALL_RO")


def name_of(words: Sequence[Word]) -> str:
    """Return the name of the command in upper case; raises ValueError when others could not share a connection with it.

    A command that changes what the connection is, or holds it until something happens, concerns all who share it.
    """
    if words and words[0] in PLAIN:
        return words[0]
    name = _upper(words[0]) if words else ""
    if not name:
        raise ValueError("a command has a name, such as GET")
    second = _upper(words[1]) if name == "CLIENT" and len(words) > 1 else ""
    if name in STATEFUL or second in ("REPLY", "TRACKING"):
        raise ValueError(f"{name} changes the connection, which others share; open one of your own for it")
    if name in BLOCKING or (name in ("XREAD", "XREADGROUP") and "BLOCK" in map(_upper, words)):
        raise ValueError(f"{name} holds up the connection, which others share; open one of your own for it")
    return name


def _upper(word: Word) -> str:
    return (word.decode(errors="replace") if isinstance(word, bytes) else str(word)).upper()


def key_of(name: str, words: Sequence[Word]) -> Word | None:
    """Return the first key of the command *name*, or None when it has none."""
    if name in KEYLESS:
        return None
    if name in KEY_AFTER_COUNT:
        return words[3] if len(words) > 3 and int(words[2]) else None
    if name in ("XREAD", "XREADGROUP"):
        streams = [_upper(word) for word in words].index("STREAMS") + 1 if "STREAMS" in map(_upper, words) else 1
        return words[streams] if len(words) > streams else None
    place = 2 if name in KEY_AFTER_SUBCOMMAND else 1
    return words[place] if len(words) > place else None


def command(words: Sequence[Word]) -> Command:
    """Return *words* with what is known of them; raises ValueError as :func:`name_of` does."""
    name = name_of(words)
    return Command(tuple(words), key_of(name, words), name in READONLY_COMMANDS)


def set_command(key: Word, value: Word, ttl: float | None, only_if_absent: bool) -> Words:
    """Return the words of a SET."""
    words: Words = ("SET", key, value)
    if ttl is not None:
        words += ("PX", milliseconds(ttl))
    return (*words, "NX") if only_if_absent else words


def eval_command(script: Script, by_source: bool, keys: Sequence[Word], arguments: Sequence[Word]) -> Words:
    """Return the words that run *script*, which the server need not know when it is given *by_source*."""
    first = ("EVAL", script.source) if by_source else ("EVALSHA", script.digest)
    return (*first, len(keys), *keys, *arguments)


def milliseconds(ttl: float) -> int:
    """Return *ttl* seconds as milliseconds, at least one; raises ValueError when nothing would be left."""
    if not 0 < ttl < 1e12:
        raise ValueError(f"a time to live is a number of seconds above 0, got {ttl!r}; to drop a key, delete it")
    return max(1, round(ttl * 1000))
