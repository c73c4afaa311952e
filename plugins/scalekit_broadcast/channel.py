"""The messages of one channel in this process: a ring that all its subscribers read, each at its own position.

A message is stored once, whatever the number of subscribers; a subscriber that falls behind by more than the ring
holds misses the oldest ones. After an interruption the ring is completed from the history of the channel, so that its
subscribers neither miss nor repeat a message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from scalekit import Unavailable
from scalekit.contracts import BroadcastMessage
from scalekit_broadcast.message_id import MessageId, count_missed, first_position, parse_message_id
from scalekit_broadcast.transport import StoredMessage


class LocalChannel:
    """The last *size* messages of the channel *name*, whose history is kept for *ttl* seconds.

    ``end`` counts the messages that were ever appended, and ``missed`` those that this process did not receive.
    """

    def __init__(self, name: str, size: int, ttl: float) -> None:
        self.name = name
        self.end = 0
        self.missed = 0
        self.interruptions = 0
        self.synchronised = False
        self.subscribers = 0
        self.task: asyncio.Task[None] | None = None
        self._ttl = ttl
        self._loop = asyncio.get_running_loop()
        self._position = first_position()
        self.messages: deque[BroadcastMessage] = deque(maxlen=size)
        self._missed_before: deque[int] = deque(maxlen=size)
        self._unordered: deque[StoredMessage] = deque(maxlen=size)
        self._overflow = 0
        self._opened = False
        self._history_end: MessageId | None = None
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._ready: dict[asyncio.Future[None], None] = {}

    @property
    def first(self) -> int:
        """The index of the oldest message in the ring, in the count of ``end``."""
        return self.end - len(self.messages)

    @property
    def last_id(self) -> str:
        """The id of the newest message, or the position before the first."""
        return str(self._position)

    def receive(self, message: StoredMessage) -> None:
        """Append a new message, or hold it until the channel is synchronised."""
        if self.synchronised:
            if self._is_new(message):
                self._append(message)
                self.wake_subscribers()
            return
        if len(self._unordered) == self._unordered.maxlen:
            self._overflow += 1
        self._unordered.append(message)

    def interrupt(self) -> None:
        """Hold messages until :meth:`synchronise`: some may have been lost."""
        self.synchronised = False
        self.interruptions += 1

    def synchronise(self, history: Sequence[StoredMessage]) -> int:
        """Append the messages of *history* and those held that are new; return how many are lost at least."""
        before = self.missed
        known = {message.id for message in self.messages}
        start = next((index + 1 for index in reversed(range(len(history))) if history[index].id in known), 0)
        if start == 0 and self._opened:
            self.missed += self._count_lost(history)
        for message in history[start:]:
            self._append(message)
        self._history_end = parse_message_id(history[-1].id) if history else None
        self.missed += self._overflow
        for message in filter(self._is_new, self._unordered):
            self._append(message)
        self._unordered.clear()
        self._overflow = 0
        self.synchronised = self._opened = True
        _resolve_all(self._ready)
        self.wake_subscribers()
        return self.missed - before

    def fail(self, error: Unavailable) -> None:
        """Raise *error* in :meth:`wait_until_synchronised`."""
        for future in self._ready:
            if not future.done():
                future.set_exception(error)
        self._ready.clear()

    def start_after(self, after: str) -> tuple[int, int, int]:
        """Return where a subscriber continues after the id *after*.

        That is the index of its next message, how many before that are missed at least, and the value of
        :meth:`missed_before` that the subscriber knows: messages that were lost after *after* are missed too.
        """
        for offset, message in enumerate(reversed(self.messages)):
            if message.id == after:
                return self.end - offset, 0, self.missed_before(self.end - offset - 1)
        position = parse_message_id(after)
        if position == self._position:  # there was no message yet
            return self.end, 0, self.missed
        first = parse_message_id(self.messages[0].id) if self.messages else None
        return self.first, count_missed(position, first, self._ttl), self.missed_before(self.first)

    def message_at(self, index: int) -> BroadcastMessage:
        """Return the message at *index*, which is in the ring."""
        return self.messages[index - self.first]

    def missed_before(self, index: int) -> int:
        """Return how many messages this process has missed before the one at *index*, or in all at the end."""
        return self._missed_before[index - self.first] if index < self.end else self.missed

    def add_waiter(self) -> asyncio.Future[None]:
        """Return a future that is completed at the next message, or when the channel is woken for another reason."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters[waiter] = None
        return waiter

    def remove_waiter(self, waiter: asyncio.Future[None]) -> None:
        """Forget the future of a caller that was cancelled."""
        self._waiters.pop(waiter, None)

    async def wait_until_synchronised(self) -> None:
        """Wait until the ring is complete; raises Unavailable when the history cannot be read."""
        if self.synchronised:
            return
        ready: asyncio.Future[None] = self._loop.create_future()
        self._ready[ready] = None
        try:
            await ready
        finally:
            self._ready.pop(ready, None)

    def wake_subscribers(self) -> None:
        """Wake all subscribers that wait for a message."""
        _resolve_all(self._waiters)

    def _is_new(self, message: StoredMessage) -> bool:
        """Return whether *message* was not in the history: it may be received only after the history was read."""
        if self._history_end is not None:
            if (parse_message_id(message.id) or self._history_end) <= self._history_end:
                return False
            self._history_end = None
        return True

    def _append(self, message: StoredMessage) -> None:
        self.messages.append(BroadcastMessage(message.id, self.name, message.json))
        self._missed_before.append(self.missed)
        self._position = parse_message_id(message.id) or self._position
        self.end += 1

    def _count_lost(self, history: Sequence[StoredMessage]) -> int:
        first = parse_message_id(history[0].id) if history else None
        last: MessageId = self._position
        if (first is None or first.number == 1) and first_position().milliseconds > self._expiry(last):
            return 0  # the history expired because nothing was published
        return count_missed(last, first, self._ttl)

    def _expiry(self, last: MessageId) -> float:
        return last.milliseconds + self._ttl * 1000


def _resolve_all(futures: dict[asyncio.Future[None], None]) -> None:
    """Complete *futures*; the loop runs for every subscriber of a channel and must stay plain."""
    waiting = list(futures)
    futures.clear()
    for future in waiting:
        if not future.done():
            future.set_result(None)
