"""The Redis commands that plugins and applications call, on a single server or a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from scalekit_redis.commands import (
    READONLY_COMMANDS,
    Arg,
    Command,
    CommandArgs,
    Reply,
    command,
    eval_command,
    milliseconds,
    set_command,
)
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.prepared_script import PackedScript, PreparedScript
from scalekit_redis.pubsub_listener import OpenPubSub, PubSubListener
from scalekit_redis.script import Script
from scalekit_redis.spans import traced, traced_pipeline

if TYPE_CHECKING:
    from scalekit_redis.client_tracking import ClientTracking

DEFAULT_TIMEOUT = 0.25
"""Default timeout of a command in seconds."""
MAX_TIMEOUT = 3600.0
"""Maximum timeout of a command in seconds."""


def deadline_after(started: float, timeout: float) -> float:
    """Return the deadline *timeout* seconds after *started*; raises ValueError for more than an hour, or NaN."""
    if not timeout <= MAX_TIMEOUT:  # false for NaN too
        raise ValueError(f"a timeout is at most {MAX_TIMEOUT:g} seconds, got {timeout!r}")
    return started + timeout


class CommandRouter(Protocol):
    """Routes commands to the server of their key. *deadline* is a point in time on the monotonic clock."""

    def send(
        self, args: CommandArgs, key: Arg | None, started: float, deadline: float, *, retryable: bool, replica: bool
    ) -> asyncio.Future[Reply]:
        """Send a command; return the future of its reply."""
        ...

    def run(
        self, script: Script, keys: Sequence[Arg], args: Sequence[Arg], started: float, deadline: float
    ) -> asyncio.Future[Reply]:
        """Send EVALSHA, and EVAL if the server replies NOSCRIPT; return the future of the reply."""
        ...

    def prepare(self, script: PackedScript, timeout: float) -> PreparedScript:
        """Return an object that runs *script*, each run within *timeout* seconds."""
        ...

    async def send_all(self, commands: Sequence[Command], started: float, deadline: float) -> list[Reply]:
        """Send commands together; return their replies in order, errors among them."""
        ...

    async def send_acknowledged(
        self, commands: Sequence[Command], replicas: int, ack_timeout: float, deadline: float
    ) -> list[Reply]:
        """Send writes, none of them twice; return their replies when *replicas* replicas have acknowledged them."""
        ...

    def group_keys(self, keys: Sequence[Arg]) -> list[list[int]]:
        """Return the indexes of *keys* in groups, each of which one command may name."""
        ...

    def tracking(
        self, prefixes: Sequence[bytes], listener: InvalidationListener, replicas: bool
    ) -> AbstractAsyncContextManager[ClientTracking]:
        """Report changed keys to *listener* while inside, and once more when *replicas* have applied the change."""
        ...

    def pubsub(self, listener: PubSubListener) -> OpenPubSub:
        """Pass the messages of subscribed channels to *listener* while inside."""
        ...

    async def probe(self, deadline: float) -> None:
        """Return when every required server replies; raises RedisUnavailable."""
        ...


class Redis:
    """Redis commands, each with a *timeout* in seconds that a call can override.

    All of them raise RedisUnavailable, a 503, when Redis is unavailable, overloaded or does not reply in time, and
    ReplyError when the server replies with an error. Values are bytes. With *replica_reads* the replicas of a cluster
    serve commands that only read, and may return an older value.
    """

    __slots__ = ("_replica_reads", "_router", "_timeout")

    def __init__(self, router: CommandRouter, timeout: float = DEFAULT_TIMEOUT, replica_reads: bool = False) -> None:
        self._router = router
        self._timeout = deadline_after(0.0, timeout)
        self._replica_reads = replica_reads

    def get(self, key: Arg, *, timeout: float | None = None) -> asyncio.Future[bytes | None]:
        """Return the value of *key*, or None."""
        now = monotonic()
        deadline = now + self._timeout if timeout is None else deadline_after(now, timeout)
        reply = self._router.send(("GET", key), key, now, deadline, retryable=True, replica=self._replica_reads)
        return traced(reply, "GET")

    async def mget(self, keys: Sequence[Arg], *, timeout: float | None = None) -> list[bytes | None]:
        """Return the values of *keys* in their order, None for each missing key."""
        values: list[bytes | None] = [None] * len(keys)
        groups = self._router.group_keys(keys)
        replies = await self._of_groups("MGET", keys, groups, timeout)
        for indexes, reply in zip(groups, replies, strict=True):
            for index, value in zip(indexes, reply, strict=True):
                values[index] = value
        return values

    async def set(
        self,
        key: Arg,
        value: Arg,
        ttl: float | None = None,
        only_if_absent: bool = False,
        *,
        timeout: float | None = None,
    ) -> bool:
        """Set *key*, for *ttl* seconds unless it is None, or *only_if_absent* (NX); return whether it was set."""
        reply = await self._send(set_command(key, value, ttl, only_if_absent), key, timeout)
        return reply is not None

    async def delete(self, *keys: Arg, timeout: float | None = None) -> int:
        """Delete *keys*; return how many existed."""
        return sum(await self._of_groups("DEL", keys, self._router.group_keys(keys), timeout))

    async def expire(self, key: Arg, ttl: float, *, timeout: float | None = None) -> bool:
        """Set the TTL of *key* to *ttl* seconds; return whether the key exists."""
        return bool(await self._send(("PEXPIRE", key, milliseconds(ttl)), key, timeout))

    def call(self, *args: Arg, key: Arg | None = None, timeout: float | None = None) -> asyncio.Future[Reply]:
        """Send any command; return the future of its reply. *key* routes it if that is not its first key.

        Raises ValueError for a command that changes or blocks the connection, which other callers share.
        """
        parsed = command(args)
        now = monotonic()
        deadline = now + self._timeout if timeout is None else deadline_after(now, timeout)
        routing_key = parsed.key if key is None else key
        reply = self._router.send(
            args,
            routing_key,
            now,
            deadline,
            retryable=parsed.retryable,
            replica=parsed.retryable and self._replica_reads,
        )
        return traced(reply, args[0])

    async def pipeline(self, commands: Sequence[Sequence[Arg]], *, timeout: float | None = None) -> list[Reply]:
        """Send *commands* with one write to each server involved; return one reply for each.

        A failed command has its error as its reply. Raises RedisUnavailable when no command got a reply.
        """
        parsed = [command(args) for args in commands]
        now = monotonic()
        deadline = now + self._timeout if timeout is None else deadline_after(now, timeout)
        return await traced_pipeline(self._router.send_all(parsed, now, deadline), len(parsed))

    async def write_acknowledged(
        self,
        commands: Sequence[Sequence[Arg]],
        *,
        replicas: int = 1,
        ack_timeout: float = 1.0,
        timeout: float | None = None,
    ) -> list[Reply]:
        """Send *commands*, and return their replies when *replicas* replicas have them, so that a failover keeps them.

        They are sent on a connection of their own, never twice, and followed by WAIT for up to *ack_timeout* seconds,
        which are added to the timeout. A failed command has its error as its reply. Raises RedisUnavailable, of kind
        ``unacknowledged`` when too few replicas have acknowledged, and ValueError on a cluster.
        """
        parsed = [command(args) for args in commands]
        seconds = ack_timeout + (self._timeout if timeout is None else timeout)
        return await self._router.send_acknowledged(parsed, replicas, ack_timeout, deadline_after(monotonic(), seconds))

    async def run_script(
        self, script: Script, keys: Sequence[Arg] = (), args: Sequence[Arg] = (), *, timeout: float | None = None
    ) -> Reply:
        """Run *script* and return its result. The source is sent only to a server that does not know the script."""
        return await self.start_script(script, keys, args, timeout=timeout)

    def tracking(
        self, prefixes: Sequence[bytes], listener: InvalidationListener
    ) -> AbstractAsyncContextManager[ClientTracking]:
        """Report changes of keys that begin with one of *prefixes* to *listener*, by any client.

        Returns an object whose ``active`` says whether every change is reported. It uses connections of its own, which
        reconnect when they are lost; a server that hangs or becomes unreachable is detected within 0.8 seconds. None of
        *prefixes* may be a prefix of another. With replica reads a change is reported again when a replica has applied
        it, because a value read from that replica before was older.
        """
        return self._router.tracking(prefixes, listener, self._replica_reads)

    def pubsub(self, listener: PubSubListener) -> OpenPubSub:
        """Pass messages of the channels that are then subscribed to *listener* while inside (sharded pub/sub).

        It uses one connection to each server, which reconnects and subscribes again when it is lost. On a cluster the
        name of a channel has a slot as a key has, and SPUBLISH in a script needs a key of the same slot.
        """
        return self._router.pubsub(listener)

    def start_script(
        self,
        script: Script,
        keys: Sequence[Arg] = (),
        args: Sequence[Arg] = (),
        *,
        use_eval: bool = False,
        timeout: float | None = None,
    ) -> asyncio.Future[Reply]:
        """Send *script* at once; return the future of its result.

        EVALSHA is sent first, and EVAL when the server replies NOSCRIPT; it then runs after commands sent meanwhile.
        With *use_eval* EVAL is sent at once.
        """
        now = monotonic()
        deadline = now + self._timeout if timeout is None else deadline_after(now, timeout)
        if use_eval:
            key = keys[0] if keys else None
            packed = eval_command(script, True, keys, args)
            reply = self._router.send(packed, key, now, deadline, retryable=False, replica=False)
            return traced(reply, "EVAL")
        return traced(self._router.run(script, keys, args, now, deadline), "EVALSHA")

    def prepare(self, script: Script, args: Sequence[Arg], *, timeout: float | None = None) -> PreparedScript:
        """Return *script* with *args* packed once, to be run for many keys.

        Raises ValueError when the first line of *script* names an engine (``#!lua``).
        """
        seconds = self._timeout if timeout is None else deadline_after(0.0, timeout)
        return self._router.prepare(PackedScript(script, args), seconds)

    async def probe(self, *, timeout: float = 1.0) -> None:
        """Return when every required server replies, for a health check; raises RedisUnavailable."""
        await self._router.probe(deadline_after(monotonic(), timeout))

    def _send(self, args: CommandArgs, key: Arg, timeout: float | None) -> asyncio.Future[Reply]:
        now = monotonic()
        deadline = now + self._timeout if timeout is None else deadline_after(now, timeout)
        return traced(self._router.send(args, key, now, deadline, retryable=False, replica=False), args[0])

    async def _of_groups(
        self, name: str, keys: Sequence[Arg], groups: list[list[int]], timeout: float | None
    ) -> list[Reply]:
        now = monotonic()
        deadline = now + self._timeout if timeout is None else deadline_after(now, timeout)
        reads = name in READONLY_COMMANDS
        replica = reads and self._replica_reads
        send: Callable[..., asyncio.Future[Reply]] = self._router.send
        pending = [
            traced(
                send(
                    (name, *(keys[index] for index in indexes)),
                    keys[indexes[0]],
                    now,
                    deadline,
                    retryable=reads,
                    replica=replica,
                ),
                name,
            )
            for indexes in groups
        ]
        return await asyncio.gather(*pending) if len(pending) != 1 else [await pending[0]]
