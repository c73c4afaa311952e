"""A response on its way to the client of its leader, at the pace of that client and of nobody else.

The application is not held up by that client while what it has not taken is within the window of the flight, and the
followers are not at all. Beyond the window the application waits for it, so that memory is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.types import Message, Send

from scalekit_cache.single_flight import Flight


class LeaderStream:
    """Sends *first*, and with *whole* the parts of *flight* after them, in a task of its own."""

    def __init__(self, flight: Flight, send: Send, first: Sequence[Message], whole: bool) -> None:
        self._flight = flight
        self._send = send
        self._whole = whole
        self._lost: OSError | None = None
        self._task = asyncio.create_task(self._deliver(first))

    async def pace(self) -> None:
        """Wait until the flight has room for more; raises OSError when the client has left and nobody else reads."""
        await self._flight.room()
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error
        if self._lost is not None and not self._flight.followed:
            raise self._lost

    async def pass_after(self, message: Message) -> None:
        """Send *message*, which is no part of the flight, after what the flight has."""
        await self.end()
        if self._lost is not None:
            raise self._lost
        await self._send(message)

    async def end(self) -> None:
        """Return when the client has all that there is, or has left."""
        self._flight.ends = True
        self._flight.tell()
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            await self.cancel()
            raise

    async def cancel(self) -> None:
        """Send no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _deliver(self, first: Sequence[Message]) -> None:
        try:
            for message in first:
                await self._send(message)
            place = 0
            while self._whole:
                part = await self._flight.take(place)
                if part is None:
                    return
                place += 1
                body, last = part
                await self._send({"type": "http.response.body", "body": body, "more_body": not last})
                if last:
                    return
        except OSError as error:
            self._lost = error
        finally:
            self._flight.take_no_more()


async def send_all(send: Send, messages: Sequence[Message]) -> None:
    """Send *messages* one after the other."""
    for message in messages:
        await send(message)


async def discard(message: Message) -> None:
    """Send nothing."""
