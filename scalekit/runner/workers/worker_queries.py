"""Ask every worker the same question, and put their answers side by side.

A connection reaches whichever worker accepts it; a page about processes has to speak for all of them.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import count
from typing import TYPE_CHECKING

from scalekit.context import Key

if TYPE_CHECKING:
    from scalekit.runner.workers.worker_process import WorkerProcess

Answer = Callable[[], Awaitable[bytes]]

NUMBER = struct.Struct("!Q")
"""The number of a question, which each answer begins with."""
TIMEOUT = 5.0
"""Seconds to wait for the workers; one that does not answer in time is null."""


class WorkerQueries:
    """The topics on which this process answers, and the way to ask all workers; answers are JSON."""

    def __init__(self) -> None:
        self.ask_supervisor: Callable[[bytes], Awaitable[bytes]] | None = None
        self._answers: dict[bytes, Answer] = {}

    def register(self, topic: bytes, answer: Answer) -> None:
        """Let *answer* speak for this process on *topic*."""
        self._answers[topic] = answer

    async def answer(self, topic: bytes) -> bytes:
        """Return the answer of this process; null when it has none on *topic*."""
        answer = self._answers.get(topic)
        return b"null" if answer is None else await answer()

    async def ask(self, topic: bytes) -> bytes:
        """Return a JSON object with each worker's answer by its number; one process alone is worker 1.

        Raises TimeoutError when the supervisor does not answer.
        """
        if self.ask_supervisor is not None:
            return await self.ask_supervisor(topic)
        return combine({"1": await self.answer(topic)})


WORKER_QUERIES: Key[WorkerQueries] = Key("inquiries")


class QueryCoordinator:
    """The supervisor's part: passes a question to the workers that *serving* names and gathers their answers."""

    def __init__(self, serving: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._serving = serving
        self._numbers = count()
        self._awaited: dict[int, asyncio.Future[bytes]] = {}

    async def ask(self, topic: bytes) -> bytes:
        """Return the answers of all workers on *topic*, as :meth:`WorkerQueries.ask` does."""
        asked = {worker.slot: self._ask_one(worker, topic) for worker in self._serving() if worker.serves}
        answers = await asyncio.gather(*asked.values())
        return combine(dict(zip(asked, answers, strict=True)))

    async def _ask_one(self, worker: WorkerProcess, topic: bytes) -> bytes:
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._awaited[number] = answer
        worker.inquire(NUMBER.pack(number) + topic)
        try:
            async with asyncio.timeout(TIMEOUT):
                return await answer
        except TimeoutError:
            return b"null"
        finally:
            del self._awaited[number]

    def receive(self, content: bytes) -> None:
        """Take a worker's answer; one that comes too late is dropped."""
        (number,) = NUMBER.unpack_from(content)
        answer = self._awaited.get(number)
        if answer is not None and not answer.done():
            answer.set_result(content[NUMBER.size :])


def combine(answers: Mapping[str, bytes]) -> bytes:
    """Return the JSON object ``{"workers": {...}}`` of *answers*, each JSON, by the worker's number."""
    members = b",".join(b'"%s":%s' % (slot.encode(), answer) for slot, answer in answers.items())
    return b'{"workers":{%s}}' % members
