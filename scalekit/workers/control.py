"""A worker's end of the channel: signs of life, its numbers, and orders from the supervisor."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import count

from scalekit.telemetry import Telemetry
from scalekit.telemetry.snapshot import Snapshot, decode, encode
from scalekit.workers.channel import Channel, Kind
from scalekit.workers.reporting import write

HEARTBEAT = 1.0
"""Seconds between two signs of life, which carry the numbers: what a killed worker may take with it."""
TOTAL_TIMEOUT = 2.0
QUESTION = struct.Struct("!Q")
"""The number of a question, which its answer begins with."""


class Control:
    """What a worker tells its supervisor, and does when told."""

    def __init__(self, end: socket.socket, telemetry: Telemetry) -> None:
        self._end = end
        self._telemetry = telemetry
        self._channel: Channel | None = None
        self._questions = count()
        self._totals: dict[int, asyncio.Future[Snapshot]] = {}

    @asynccontextmanager
    async def connected(self, retire: Callable[[], None], orphaned: Callable[[], None]) -> AsyncGenerator[None, None]:
        """Keep the supervisor informed; call *retire* when it says so and *orphaned* when it has gone."""
        self._channel = channel = await Channel.open(self._end)
        self._telemetry.gather = self.total
        tasks = [asyncio.create_task(self._beat(channel)), asyncio.create_task(self._obey(channel, retire, orphaned))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._send_numbers(channel)
            await channel.close()

    def ready(self) -> None:
        """Say that this worker serves."""
        if self._channel is not None:
            self._channel.send(Kind.READY)

    def _send_numbers(self, channel: Channel) -> None:
        if self._telemetry.recording:
            channel.send(Kind.NUMBERS, encode(self._telemetry.snapshot()))

    async def total(self) -> Snapshot:
        """Return the numbers of all workers; raises TimeoutError when the supervisor does not answer."""
        if self._channel is None:
            return self._telemetry.snapshot()
        question = next(self._questions)
        answer: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._totals[question] = answer
        self._channel.send(Kind.WANT_TOTAL, QUESTION.pack(question))
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT):
                return await answer
        finally:
            del self._totals[question]

    async def _beat(self, channel: Channel) -> None:
        while True:
            if channel.idle:  # else the supervisor stands still, and news would pile up
                channel.send(Kind.ALIVE)
                self._send_numbers(channel)
            await asyncio.sleep(HEARTBEAT)

    async def _obey(self, channel: Channel, retire: Callable[[], None], orphaned: Callable[[], None]) -> None:
        async for message in channel.messages():
            if message.kind is Kind.RETIRE:
                retire()
            elif message.kind is Kind.WANT_NUMBERS:
                self._send_numbers(channel)
            elif message.kind is Kind.TOTAL:
                self._hand_out(message.content)
            elif message.kind is Kind.REPORT:
                write(message.content)
        orphaned()

    def _hand_out(self, content: bytes) -> None:
        (question,) = QUESTION.unpack_from(content)
        answer = self._totals.get(question)
        if answer is not None and not answer.done():
            answer.set_result(decode(content[QUESTION.size :]))
