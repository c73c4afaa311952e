"""One subscriber's position in the ring of a channel."""

from __future__ import annotations

from scalekit.contracts import BroadcastMessage, SubscriberTooSlow
from scalekit_broadcast.channel import LocalChannel
from scalekit_broadcast.message_id import parse_message_id
from scalekit_broadcast.metrics import BroadcastMetrics


class ChannelSubscription:
    """The messages of *channel* from now on, or after the id *after*.

    With *disconnect_slow* a subscriber that falls behind the ring fails, else it skips the oldest messages.
    """

    __slots__ = ("_channel", "_disconnect_slow", "_end", "_lost", "_metrics", "_missed", "_next", "last_id")

    def __init__(
        self, channel: LocalChannel, after: str | None, metrics: BroadcastMetrics, disconnect_slow: bool
    ) -> None:
        self.last_id = channel.last_id if after is None else after if parse_message_id(after) else ""
        self._channel = channel
        self._metrics = metrics
        self._disconnect_slow = disconnect_slow
        self._end: int | None = None
        start = (channel.end, 0, channel.missed) if after is None else channel.start_after(after)
        self._next, self._missed, self._lost = start
        if self._missed:
            metrics.count_missed("history", self._missed)

    @property
    def missed(self) -> int:
        """How many messages have been missed since the last one that was returned."""
        index = max(self._next, self._channel.first)
        return self._missed + index - self._next + self._channel.missed_before(index) - self._lost

    def __aiter__(self) -> ChannelSubscription:
        return self

    async def __anext__(self) -> BroadcastMessage:
        """Return the next message; waits in the channel, so that a cancelled call loses none."""
        channel = self._channel
        while self._next >= channel.end:
            if self._end is not None:
                raise StopAsyncIteration
            waiter = channel.add_waiter()
            try:
                await waiter
            except BaseException:
                channel.remove_waiter(waiter)
                raise
        if self._end is not None and self._next >= self._end:
            raise StopAsyncIteration
        return self._take()

    def end(self) -> None:
        """End the iteration after the messages received so far."""
        if self._end is None:
            self._end = self._channel.end

    def _take(self) -> BroadcastMessage:
        """Return the next message; every subscriber calls this for each message, so the usual case comes first."""
        channel, behind = self._channel, self._channel.end - self._next
        if behind > len(channel.messages) or channel.missed != self._lost or self._missed:
            return self._take_after_gap()
        message = channel.messages[-behind]
        self._next += 1
        self.last_id = message.id
        self._metrics.delivered += 1
        return message

    def _take_after_gap(self) -> BroadcastMessage:
        channel = self._channel
        if self._next < channel.first:
            self._skip(channel.first - self._next)
        message, lost = channel.message_at(self._next), channel.missed_before(self._next)
        missed = self._missed + lost - self._lost
        self._next, self._lost, self._missed, self.last_id = self._next + 1, lost, 0, message.id
        self._metrics.delivered += 1
        return message if not missed else BroadcastMessage(message.id, message.channel, message.json, missed)

    def _skip(self, number: int) -> None:
        """Skip *number* messages that the ring does not hold any more."""
        self._metrics.count_missed("slow", number)
        if self._disconnect_slow:
            raise SubscriberTooSlow(
                f"a subscriber of {self._channel.name!r} is {number} messages too far behind"
                ' (plugins.broadcast.slow_subscribers = "disconnect"): raise history, or read faster'
            )
        self._missed += number
        self._next += number
