"""A worker's end of the channel: signs of life, its numbers, and orders from the supervisor."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import count

from scalekit.runner.workers.channel import Channel, MessageKind
from scalekit.runner.workers.log_forwarder import write
from scalekit.runner.workers.worker_queries import NUMBER, TIMEOUT, WorkerQueries, combine
from scalekit.telemetry import Telemetry
from scalekit.telemetry.snapshot import Snapshot, decode, encode

logger = logging.getLogger("scalekit")

HEARTBEAT = 1.0
"""Seconds between two signs of life, which carry the numbers: what a killed worker may take with it."""
TOTAL_TIMEOUT = 2.0
ALL_TIMEOUT = TIMEOUT + 1.0
"""Seconds to wait for the answers of all workers, for whom the supervisor waits a little less."""


class WorkerControl:
    """What a worker tells its supervisor, and does when told."""

    def __init__(self, end: socket.socket, telemetry: Telemetry, inquiries: WorkerQueries) -> None:
        self._end = end
        self._telemetry = telemetry
        self._inquiries = inquiries
        self._channel: Channel | None = None
        self._questions = count()
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def connected(self, retire: Callable[[], None], orphaned: Callable[[], None]) -> AsyncGenerator[None, None]:
        """Keep the supervisor informed; call *retire* when it says so and *orphaned* when it has gone."""
        self._channel = channel = await Channel.open(self._end)
        self._telemetry.gather = self.total
        self._inquiries.ask_supervisor = self.ask_all
        tasks = [asyncio.create_task(self._beat(channel)), asyncio.create_task(self._obey(channel, retire, orphaned))]
        try:
            yield
        finally:
            tasks += self._answering
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._send_numbers(channel)
            await channel.close()

    def ready(self) -> None:
        """Say that this worker serves."""
        if self._channel is not None:
            self._channel.send(MessageKind.READY)

    def _send_numbers(self, channel: Channel) -> None:
        if self._telemetry.recording:
            channel.send(MessageKind.NUMBERS, encode(self._telemetry.snapshot()))

    async def total(self) -> Snapshot:
        """Return the numbers of all workers; raises TimeoutError when the supervisor does not answer."""
        if self._channel is None:
            return self._telemetry.snapshot()
        return decode(await self._ask(self._channel, MessageKind.WANT_TOTAL, b"", TOTAL_TIMEOUT))

    async def ask_all(self, topic: bytes) -> bytes:
        """Return what all workers answer on *topic*; raises TimeoutError when the supervisor does not answer."""
        if self._channel is None:
            return combine({"1": await self._inquiries.answer(topic)})
        return await self._ask(self._channel, MessageKind.ASK_ALL, topic, ALL_TIMEOUT)

    async def _ask(self, channel: Channel, kind: MessageKind, content: bytes, timeout: float) -> bytes:
        question = next(self._questions)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[question] = answer
        channel.send(kind, NUMBER.pack(question) + content)
        try:
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            del self._pending[question]

    async def _beat(self, channel: Channel) -> None:
        while True:
            if channel.idle:  # else the supervisor stands still, and news would pile up
                channel.send(MessageKind.ALIVE)
                self._send_numbers(channel)
            await asyncio.sleep(HEARTBEAT)

    async def _obey(self, channel: Channel, retire: Callable[[], None], orphaned: Callable[[], None]) -> None:
        async for message in channel.messages():
            if message.kind is MessageKind.RETIRE:
                retire()
            elif message.kind is MessageKind.WANT_NUMBERS:
                self._send_numbers(channel)
            elif message.kind in (MessageKind.TOTAL, MessageKind.ANSWERS):
                self._hand_out(message.content)
            elif message.kind is MessageKind.INQUIRY:
                self._begin_answer(channel, message.content)
            elif message.kind is MessageKind.REPORT:
                write(message.content)
        orphaned()

    def _hand_out(self, content: bytes) -> None:
        (question,) = NUMBER.unpack_from(content)
        answer = self._pending.get(question)
        if answer is not None and not answer.done():
            answer.set_result(content[NUMBER.size :])

    def _begin_answer(self, channel: Channel, question: bytes) -> None:
        task = asyncio.create_task(self._answer(channel, question[: NUMBER.size], question[NUMBER.size :]))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, channel: Channel, number: bytes, topic: bytes) -> None:
        try:
            content = await self._inquiries.answer(topic)
        except Exception:
            logger.exception("no answer about %r", topic.decode())
            content = b"null"
        channel.send(MessageKind.ANSWER, number + content)
