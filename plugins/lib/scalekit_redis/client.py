"""What plugins and applications say to Redis, whether one server or a cluster answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from scalekit_redis.commands import (
    READONLY_COMMANDS,
    Command,
    Word,
    Words,
    command,
    eval_command,
    milliseconds,
    set_command,
)
from scalekit_redis.invalidation_listener import InvalidationListener
from scalekit_redis.prepared_script import PackedScript, PreparedScript
from scalekit_redis.script import Script

if TYPE_CHECKING:
    from scalekit_redis.client_tracking import ClientTracking

DEADLINE = 0.25
"""Seconds that a command may take where nobody says otherwise."""


LONGEST = 3600.0
"""Seconds that a command may take at most."""


def end_of(began: float, deadline: float) -> float:
    """Return when *deadline* seconds from *began* are over; raises ValueError when that would be never."""
    if not deadline <= LONGEST:  # nor is it a number that is none
        raise ValueError(f"a deadline is at most {LONGEST:g} seconds, got {deadline!r}")
    return began + deadline


class CommandRouter(Protocol):
    """Carries commands to where they belong. *at* is when their time is over, on the monotonic clock."""

    def send(
        self, words: Words, key: Word | None, began: float, at: float, repeatable: bool, replica: bool
    ) -> asyncio.Future[Any]:
        """Send a command; return the future of its reply."""
        ...

    def run(
        self, script: Script, keys: Sequence[Word], args: Sequence[Word], began: float, at: float
    ) -> asyncio.Future[Any]:
        """Run *script*, whose source goes only to a server that does not know it; return the future of its reply."""
        ...

    def prepare(self, form: PackedScript, deadline: float) -> PreparedScript:
        """Return what runs the script of *form*, each time within *deadline* seconds."""
        ...

    async def send_all(self, commands: Sequence[Command], began: float, at: float) -> list[Any]:
        """Send commands together; return their replies in order, errors among them."""
        ...

    def parted(self, keys: Sequence[Word]) -> list[list[int]]:
        """Return the places of *keys* in groups, each of which one command may name."""
        ...

    def tracking(
        self, prefixes: Sequence[bytes], hearing: InvalidationListener, replicas: bool
    ) -> AbstractAsyncContextManager[ClientTracking]:
        """Tell *hearing* of changed keys while inside, and again when *replicas* have changed them."""
        ...

    async def probe(self, at: float) -> None:
        """Return when every server that is needed answers; raises RedisUnavailable."""
        ...


class Redis:
    """Commands with a *deadline* in seconds, of its own for each where it is given.

    All of them raise RedisUnavailable, which is a 503, while Redis is gone, late or full, and ReplyError when the
    server says that the command is wrong. Values come as bytes. With *replica_reads* a cluster's replicas answer what
    only reads, which may be older.
    """

    __slots__ = ("_courier", "_deadline", "_replica_reads")

    def __init__(self, courier: CommandRouter, deadline: float = DEADLINE, replica_reads: bool = False) -> None:
        self._courier = courier
        self._deadline = end_of(0.0, deadline)
        self._replica_reads = replica_reads

    def get(self, key: Word, *, deadline: float | None = None) -> asyncio.Future[bytes | None]:
        """Return the value of *key*, or None."""
        now = monotonic()
        at = now + self._deadline if deadline is None else end_of(now, deadline)
        return self._courier.send(("GET", key), key, now, at, True, self._replica_reads)

    async def mget(self, keys: Sequence[Word], *, deadline: float | None = None) -> list[bytes | None]:
        """Return the values of *keys* in their order, None for each that is not there."""
        values: list[bytes | None] = [None] * len(keys)
        groups = self._courier.parted(keys)
        replies = await self._of_groups("MGET", keys, groups, deadline)
        for places, reply in zip(groups, replies, strict=True):
            for place, value in zip(places, reply, strict=True):
                values[place] = value
        return values

    async def set(
        self,
        key: Word,
        value: Word,
        ttl: float | None = None,
        only_if_absent: bool = False,
        *,
        deadline: float | None = None,
    ) -> bool:
        """Set *key*, for *ttl* seconds where given; tell whether it was set, which *only_if_absent* may forbid."""
        reply = await self._send(set_command(key, value, ttl, only_if_absent), key, deadline)
        return reply is not None

    async def delete(self, *keys: Word, deadline: float | None = None) -> int:
        """Delete *keys*; return how many were there."""
        return sum(await self._of_groups("DEL", keys, self._courier.parted(keys), deadline))

    async def expire(self, key: Word, ttl: float, *, deadline: float | None = None) -> bool:
        """Let *key* end in *ttl* seconds; tell whether it was there."""
        return bool(await self._send(("PEXPIRE", key, milliseconds(ttl)), key, deadline))

    def call(self, *words: Word, key: Word | None = None, deadline: float | None = None) -> asyncio.Future[Any]:
        """Return the reply to any command; *key* says where it belongs if that is not its first key.

        Raises ValueError for a command that would change or hold up the connection, which others share.
        """
        known = command(words)
        now = monotonic()
        at = now + self._deadline if deadline is None else end_of(now, deadline)
        place = known.key if key is None else key
        reads = known.repeatable
        return self._courier.send(words, place, now, at, reads, reads and self._replica_reads)

    async def pipeline(self, commands: Sequence[Sequence[Word]], *, deadline: float | None = None) -> list[Any]:
        """Send *commands* with one write to each server that has part in them; return one reply each.

        A command that failed has its error as its reply. Raises RedisUnavailable when none was answered.
        """
        known = [command(words) for words in commands]
        now = monotonic()
        at = now + self._deadline if deadline is None else end_of(now, deadline)
        return await self._courier.send_all(known, now, at)

    async def script(
        self, script: Script, keys: Sequence[Word] = (), args: Sequence[Word] = (), *, deadline: float | None = None
    ) -> Any:
        """Run *script* and return what it returns; its source is sent only to a server that does not know it."""
        return await self.begin(script, keys, args, deadline=deadline)

    def tracking(
        self, prefixes: Sequence[bytes], hearing: InvalidationListener
    ) -> AbstractAsyncContextManager[ClientTracking]:
        """Tell *hearing* which keys are changed, by whomever, of those that begin with one of *prefixes*.

        Gives an object whose ``on`` tells whether every change is told. Connections of its own serve it, and are
        opened anew when they are lost; a server that hangs, or is cut off in silence, is noticed within 0.8 seconds.
        None of *prefixes* may begin with another. With replica reads a change is told again when a replica has it, as
        what was read there before was older.
        """
        return self._courier.tracking(prefixes, hearing, self._replica_reads)

    def begin(
        self,
        script: Script,
        keys: Sequence[Word] = (),
        args: Sequence[Word] = (),
        *,
        by_source: bool = False,
        deadline: float | None = None,
    ) -> asyncio.Future[Any]:
        """Send *script* at once; return the future of what it returns.

        A server that does not know it is sent its source, after what was sent meanwhile, or always where *by_source*.
        """
        now = monotonic()
        at = now + self._deadline if deadline is None else end_of(now, deadline)
        if by_source:
            key = keys[0] if keys else None
            return self._courier.send(eval_command(script, True, keys, args), key, now, at, False, False)
        return self._courier.run(script, keys, args, now, at)

    def prepare(self, script: Script, args: Sequence[Word], *, deadline: float | None = None) -> PreparedScript:
        """Return *script* with *args*, to be run for many keys at less cost.

        Raises ValueError where the first line of *script* names an engine.
        """
        seconds = self._deadline if deadline is None else end_of(0.0, deadline)
        return self._courier.prepare(PackedScript(script, args), seconds)

    async def probe(self, *, deadline: float = 1.0) -> None:
        """Return when every server that is needed answers, for a health check; raises RedisUnavailable."""
        await self._courier.probe(end_of(monotonic(), deadline))

    def _send(self, words: Words, key: Word, deadline: float | None) -> asyncio.Future[Any]:
        now = monotonic()
        at = now + self._deadline if deadline is None else end_of(now, deadline)
        return self._courier.send(words, key, now, at, False, False)

    async def _of_groups(
        self, name: str, keys: Sequence[Word], groups: list[list[int]], deadline: float | None
    ) -> list[Any]:
        now = monotonic()
        at = now + self._deadline if deadline is None else end_of(now, deadline)
        reads = name in READONLY_COMMANDS
        replica = reads and self._replica_reads
        send: Callable[..., asyncio.Future[Any]] = self._courier.send
        pending = [
            send((name, *(keys[place] for place in places)), keys[places[0]], now, at, reads, replica)
            for places in groups
        ]
        return await asyncio.gather(*pending) if len(pending) != 1 else [await pending[0]]
