"""A command on its way, and what is to happen with its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis

from scalekit_redis.commands import Words
from scalekit_redis.errors import NOT_RUN, RedisUnavailable, ReplyError, explained, value_or_error

MISSING = object()
_packed = cast(Callable[[Words], bytes], hiredis.pack_command)  # its annotation is of a tuple of one


def pack(words: Words) -> bytes:
    """Return *words* as the server reads them; raises TypeError naming the word that is none."""
    try:
        return _packed(words)
    except TypeError:
        for place, word in enumerate(words):
            if isinstance(word, bool) or not isinstance(word, str | bytes | int | float):
                message = f"word {place} of {words[0]!r} is a {type(word).__name__}; give str, bytes, int or float"
                raise TypeError(message) from None
        raise


class PendingCommand:
    """One command: *packed* as it is sent, and the future of who waits.

    *began* and *at*, when its time is over, are on the monotonic clock. What is *repeatable* may be sent once more.
    """

    __slots__ = ("at", "began", "future", "packed", "repeatable")

    def __init__(
        self, future: asyncio.Future[Any], packed: bytes, began: float, at: float, repeatable: bool = False
    ) -> None:
        self.future = future
        self.packed = packed
        self.began = began
        self.at = at
        self.repeatable = repeatable

    @property
    def commands(self) -> int:
        """How many commands, and so replies, it is."""
        return 1

    @property
    def calls(self) -> Sequence[PendingCommand]:
        """It, or what waits for replies of its own where several go together."""
        return (self,)

    def take(self, reply: Any) -> bool:
        """Take a reply; tell whether it was the last. Nobody may be waiting any more: it is dropped then."""
        future = self.future
        if not future.done():
            if isinstance(reply, ReplyError):
                self.refuse(reply)
            else:
                future.set_result(reply)
        return True

    def refuse(self, error: ReplyError) -> None:
        """Tell who waits that the reply is *error*."""
        self.future.set_exception(explained(error))

    def fail(self, error: RedisUnavailable) -> None:
        """Tell who waits that no reply will come."""
        if not self.future.done():
            self.future.set_exception(error)


class PendingPipeline(PendingCommand):
    """Several commands that are written together; their replies are a list, in which errors are values.

    Those that the server did not run may be written once more: ``commands`` are those that are on their way.
    """

    __slots__ = ("_parts", "_places", "_replies", "_taken")

    def __init__(
        self, future: asyncio.Future[Any], packed: Sequence[bytes], began: float, at: float, repeatable: bool
    ) -> None:
        super().__init__(future, b"".join(packed), began, at, repeatable)
        self._parts = packed
        self._replies: list[Any] = [MISSING] * len(packed)
        self._places: Sequence[int] = range(len(packed))
        self._taken = 0

    @property
    def commands(self) -> int:
        """How many commands, and so replies, it is."""
        return len(self._places)

    def take(self, reply: Any) -> bool:
        """Take a reply; tell whether it was the last."""
        self.repeatable = False  # half of it would be there twice
        self._replies[self._places[self._taken]] = reply
        self._taken += 1
        if self._taken < len(self._places):
            return False
        if not self.future.done() and not self.again():
            self.future.set_result([value_or_error(each) for each in self._replies])
        return True

    def again(self) -> bool:
        """Have what was not run sent again; tell whether that is so."""
        return False

    def not_run(self) -> list[int]:
        """Return the places of the commands that the server did not run."""
        replies = enumerate(self._replies)
        return [place for place, reply in replies if isinstance(reply, ReplyError) and reply.code in NOT_RUN]

    def narrow(self, places: Sequence[int]) -> None:
        """Be the commands at *places* alone from now on."""
        self._places, self._taken = places, 0
        self.packed = b"".join([self._parts[place] for place in places])

    def fail(self, error: RedisUnavailable) -> None:
        """Tell who waits: with what came so far, the error in place of the rest, or the error alone."""
        if self.future.done():
            return
        for place in self._places[self._taken :]:
            self._replies[place] = MISSING
        if all(reply is MISSING for reply in self._replies):
            self.future.set_exception(error)
        else:
            replies = [error if reply is MISSING else value_or_error(reply) for reply in self._replies]
            self.future.set_result(replies)
