"""Send a response in flight to the leader's client, at the pace of that client.

The application does not wait for that client while its backlog is within the window of the flight; followers never do.
Beyond the window the application waits for the client, so that memory is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.types import Message, Send

from scalekit_cache.single_flight import Flight


class LeaderStream:
    """Sends the messages *first* in a task, followed by the body of *flight* if *sends_body*."""

    def __init__(self, flight: Flight, send: Send, first: Sequence[Message], sends_body: bool) -> None:
        self._flight = flight
        self._send = send
        self._sends_body = sends_body
        self._error: OSError | None = None
        self._task = asyncio.create_task(self._run(first))

    async def wait_capacity(self) -> None:
        """Wait until the flight has capacity; raises OSError when the client has disconnected and no follower reads."""
        await self._flight.wait_capacity()
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error
        if self._error is not None and not self._flight.has_followers:
            raise self._error

    async def send_after(self, message: Message) -> None:
        """Send *message*, which is not part of the flight, after the body of the flight."""
        await self.end()
        if self._error is not None:
            raise self._error
        await self._send(message)

    async def end(self) -> None:
        """Return when the client has the complete response, or has disconnected."""
        self._flight.ended = True
        self._flight.notify()
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            await self.cancel()
            raise

    async def cancel(self) -> None:
        """Stop sending."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, first: Sequence[Message]) -> None:
        try:
            for message in first:
                await self._send(message)
            position = 0
            while self._sends_body:
                part = await self._flight.read_as_leader(position)
                if part is None:
                    return
                position += 1
                chunk, last = part
                await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})
                if last:
                    return
        except OSError as error:
            self._error = error
        finally:
            self._flight.end_leader()


async def send_all(send: Send, messages: Sequence[Message]) -> None:
    """Send *messages* in order."""
    for message in messages:
        await send(message)


async def discard(message: Message) -> None:
    """Send nothing."""
