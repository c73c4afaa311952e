"""Properties of Redis commands: which only read, which must not share a connection, and which argument is the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from scalekit_redis.script import Script

Arg = str | bytes | int | float
CommandArgs = tuple[Arg, ...]
Reply = Any
"""A reply in RESP3: bytes, int, float, bool, None, an error, or a list or dict of them."""


class Command(NamedTuple):
    """A command, its first key or None, and whether it may be sent again after a lost connection."""

    args: CommandArgs
    key: Arg | None
    retryable: bool


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


READONLY_COMMANDS = _names(
    """EXISTS GET GETRANGE HEXISTS HGET HGETALL HKEYS HLEN HMGET HVALS LINDEX LLEN LRANGE MGET PING PTTL SCARD SISMEMBER
    SMEMBERS SMISMEMBER STRLEN TIME TTL TYPE ZCARD ZCOUNT ZRANGE ZRANK ZSCORE"""
)
"""Commands that only read: one whose connection is lost before the reply is sent again."""

STATEFUL_COMMANDS = _names(
    """ASKING AUTH DISCARD EXEC HELLO MONITOR MULTI PSUBSCRIBE PSYNC PUNSUBSCRIBE QUIT READONLY READWRITE RESET SELECT
    SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE SYNC UNSUBSCRIBE UNWATCH WATCH"""
)
BLOCKING_COMMANDS = _names("BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN WAIT WAITAOF")
KEY_FIRST_COMMANDS = READONLY_COMMANDS | _names("DEL EXPIRE HDEL HSET INCR INCRBY PEXPIRE SADD SET UNLINK ZADD")
"""The most common commands, whose first argument is the key."""
KEYLESS_COMMANDS = _names(
    """ACL CLIENT CLUSTER COMMAND CONFIG DBSIZE ECHO FLUSHALL FLUSHDB FUNCTION INFO KEYS LASTSAVE LATENCY MODULE PING
    PUBLISH RANDOMKEY ROLE SCAN SCRIPT SLOWLOG TIME"""
)
KEY_AFTER_SUBCOMMAND = _names("MEMORY OBJECT XGROUP XINFO")
KEY_AFTER_COUNT = _names("EVAL EVALSHA EVALSHA_RO EVAL_RO FCALL FCALL_RO")


def name_of(args: Sequence[Arg]) -> str:
    """Return the name of the command in upper case; raises ValueError when it cannot share a connection.

    A command that changes the state of the connection, or blocks it, would affect every caller that shares it.
    """
    if args and args[0] in KEY_FIRST_COMMANDS:
        return args[0]
    name = _upper(args[0]) if args else ""
    if not name:
        raise ValueError("the command has no name; pass one such as GET")
    second = _upper(args[1]) if name == "CLIENT" and len(args) > 1 else ""
    if name in STATEFUL_COMMANDS or second in ("REPLY", "TRACKING"):
        raise ValueError(f"{name} changes the shared connection; use a separate connection")
    if name in BLOCKING_COMMANDS or (name in ("XREAD", "XREADGROUP") and "BLOCK" in map(_upper, args)):
        raise ValueError(f"{name} blocks the shared connection; use a separate connection")
    return name


def _upper(arg: Arg) -> str:
    return (arg.decode(errors="replace") if isinstance(arg, bytes) else str(arg)).upper()


def key_of(name: str, args: Sequence[Arg]) -> Arg | None:
    """Return the first key of the command *name*, or None when it has none."""
    if name in KEYLESS_COMMANDS:
        return None
    if name in KEY_AFTER_COUNT:
        return args[3] if len(args) > 3 and int(args[2]) else None
    if name in ("XREAD", "XREADGROUP"):
        streams = [_upper(arg) for arg in args].index("STREAMS") + 1 if "STREAMS" in map(_upper, args) else 1
        return args[streams] if len(args) > streams else None
    index = 2 if name in KEY_AFTER_SUBCOMMAND else 1
    return args[index] if len(args) > index else None


def command(args: Sequence[Arg]) -> Command:
    """Return *args* as a Command; raises ValueError as :func:`name_of` does."""
    name = name_of(args)
    return Command(tuple(args), key_of(name, args), name in READONLY_COMMANDS)


def set_command(key: Arg, value: Arg, ttl: float | None, only_if_absent: bool) -> CommandArgs:
    """Return the arguments of a SET."""
    args: CommandArgs = ("SET", key, value)
    if ttl is not None:
        args += ("PX", milliseconds(ttl))
    return (*args, "NX") if only_if_absent else args


def eval_command(script: Script, use_eval: bool, keys: Sequence[Arg], arguments: Sequence[Arg]) -> CommandArgs:
    """Return the arguments that run *script*: EVAL with *use_eval*, else EVALSHA."""
    first = ("EVAL", script.source) if use_eval else ("EVALSHA", script.digest)
    return (*first, len(keys), *keys, *arguments)


def milliseconds(ttl: float) -> int:
    """Return *ttl* seconds as milliseconds, at least one; raises ValueError when *ttl* is not positive."""
    if not 0 < ttl < 1e12:
        raise ValueError(f"ttl must be a number of seconds greater than zero, got {ttl!r}; to remove a key, delete it")
    return max(1, round(ttl * 1000))
