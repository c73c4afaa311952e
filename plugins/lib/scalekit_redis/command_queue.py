"""The commands that wait for a connection to one server, limited in number and bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from scalekit_redis.pending import PendingCommand

MAX_IN_FLIGHT = 10_000
"""Maximum number of commands in flight to one server, and of those queued for a connection to it."""
MAX_QUEUED_BYTES, SMALL_COMMAND = 64 * 1024 * 1024, 4096
"""Maximum bytes queued for a connection, and the size of a command that is queued regardless."""


class CommandQueue:
    """Commands in the order in which they are sent."""

    def __init__(self) -> None:
        self._commands: deque[PendingCommand] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._commands)

    def __iter__(self) -> Iterator[PendingCommand]:
        return iter(self._commands)

    def rejection(self, command: PendingCommand) -> str:
        """Return why the queue is too full for *command*; empty when it is not."""
        if len(self._commands) >= MAX_IN_FLIGHT:
            return f"{len(self._commands)} commands in flight already"
        if self._bytes > MAX_QUEUED_BYTES and len(command.packed) > SMALL_COMMAND:
            return f"{self._bytes} bytes queued already"
        return ""

    def extend(self, commands: Iterable[PendingCommand]) -> None:
        """Append *commands*."""
        for command in commands:
            self._bytes += len(command.packed)
            self._commands.append(command)

    def take(self) -> list[PendingCommand]:
        """Remove and return all commands."""
        taken, self._commands, self._bytes = list(self._commands), deque(), 0
        return taken
