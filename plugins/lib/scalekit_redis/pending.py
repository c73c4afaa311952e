"""Commands that wait for their replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import hiredis

from scalekit_redis.commands import CommandArgs, Reply
from scalekit_redis.errors import NOT_EXECUTED, RedisUnavailable, ReplyError, to_caller_error, value_or_error

MISSING = object()
_packed = cast(
    Callable[[CommandArgs], bytes], hiredis.pack_command
)  # hiredis annotates the parameter as a tuple of one


def pack(args: CommandArgs) -> bytes:
    """Return *args* in the Redis protocol; raises TypeError naming the argument of a wrong type."""
    try:
        return _packed(args)
    except TypeError:
        for index, arg in enumerate(args):
            if isinstance(arg, bool) or not isinstance(arg, str | bytes | int | float):
                message = f"argument {index} of {args[0]!r} is a {type(arg).__name__}; pass str, bytes, int or float"
                raise TypeError(message) from None
        raise


class PendingCommand:
    """A command: *packed* as it is sent, and the future of its reply.

    *started* and *deadline* are points in time on the monotonic clock. A *retryable* command may be sent twice.
    """

    __slots__ = ("deadline", "future", "packed", "retryable", "started")

    def __init__(
        self, future: asyncio.Future[Reply], packed: bytes, started: float, deadline: float, retryable: bool = False
    ) -> None:
        self.future = future
        self.packed = packed
        self.started = started
        self.deadline = deadline
        self.retryable = retryable

    @property
    def commands(self) -> Sequence[PendingCommand]:
        """The command itself, or those that were combined into it and have no reply yet."""
        return (self,)

    def receive(self, reply: Reply) -> bool:
        """Receive a reply; return whether it was the last. The reply of a cancelled command is dropped."""
        future = self.future
        if not future.done():
            if isinstance(reply, ReplyError):
                self.reject(reply)
            else:
                future.set_result(reply)
        return True

    def reject(self, error: ReplyError) -> None:
        """Fail with the error reply *error*."""
        self.future.set_exception(to_caller_error(error))

    def fail(self, error: RedisUnavailable) -> None:
        """Fail because no reply will come."""
        if not self.future.done():
            self.future.set_exception(error)


class PendingPipeline(PendingCommand):
    """Several commands that are written together; their replies are a list, in which errors are values.

    Commands that the server did not execute may be sent again.
    """

    __slots__ = ("_indexes", "_parts", "_received", "_replies")

    def __init__(
        self, future: asyncio.Future[Reply], packed: Sequence[bytes], started: float, deadline: float, retryable: bool
    ) -> None:
        super().__init__(future, b"".join(packed), started, deadline, retryable)
        self._parts = packed
        self._replies: list[Reply] = [MISSING] * len(packed)
        self._indexes: Sequence[int] = range(len(packed))
        self._received = 0

    def receive(self, reply: Reply) -> bool:
        """Receive a reply; return whether it was the last."""
        self.retryable = False  # the server may have executed some of it
        self._replies[self._indexes[self._received]] = reply
        self._received += 1
        if self._received < len(self._indexes):
            return False
        if not self.future.done() and not self.retry():
            self.future.set_result([value_or_error(each) for each in self._replies])
        return True

    def retry(self) -> bool:
        """Send the commands that were not executed again; return whether that is possible."""
        return False

    def not_executed(self) -> list[int]:
        """Return the indexes of the commands that the server did not execute."""
        replies = enumerate(self._replies)
        return [index for index, reply in replies if isinstance(reply, ReplyError) and reply.code in NOT_EXECUTED]

    def reduce_to(self, indexes: Sequence[int]) -> None:
        """Reduce the pipeline to the commands at *indexes*."""
        self._indexes, self._received = indexes, 0
        self.packed = b"".join([self._parts[index] for index in indexes])

    def fail(self, error: RedisUnavailable) -> None:
        """Complete with the replies so far and *error* for the others, or fail when there are none."""
        if self.future.done():
            return
        for index in self._indexes[self._received :]:
            self._replies[index] = MISSING
        if all(reply is MISSING for reply in self._replies):
            self.future.set_exception(error)
        else:
            replies = [error if reply is MISSING else value_or_error(reply) for reply in self._replies]
            self.future.set_result(replies)
