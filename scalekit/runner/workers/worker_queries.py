"""Run a query in every worker and combine the results.

A connection reaches whichever worker accepts it, but a page about processes has to show all of them.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

from scalekit.context import Key
from scalekit.errors import Unavailable

if TYPE_CHECKING:
    from scalekit.runner.workers.worker_process import WorkerProcess

logger = logging.getLogger("scalekit")

QueryHandler = Callable[[bytes], Awaitable[bytes]]
"""Returns the result, JSON, for the argument of a query."""

QUERY_ID = struct.Struct("!Q")
"""The id of a query, with which each result begins."""
QUERY_TIMEOUT = 5.0
"""Seconds to wait for the workers; the result of a worker that does not respond in time is null."""
MAX_ARGUMENT = 64 * 2**10
"""Bytes of the argument of a query."""
MAX_RESULT = 4 * 2**20
"""Bytes of the result of a worker; a larger one is null."""
MAX_RESULTS = 32 * 2**20
"""Bytes of the results of all workers, which must fit into a message; the results beyond are null."""
MAX_QUERIES = 64
"""Queries of a worker in all workers that run at one time."""
MAX_BACKLOG = 2**20
"""Bytes that wait for a worker, which does not read them, from which on no query is sent to it."""
SEPARATOR = b"\0"
"""Between the topic and the argument of a query on its way to the workers."""


class WorkerQueries:
    """The queries that this process can run, by topic, and the way to run one in all workers; results are JSON."""

    def __init__(self) -> None:
        self.query_supervisor: Callable[[bytes], Awaitable[bytes]] | None = None
        self._handlers: dict[bytes, QueryHandler] = {}
        self._running = 0

    def register(self, topic: bytes, handler: QueryHandler) -> None:
        """Run *handler* for queries on *topic* in this process."""
        self._handlers[topic] = handler

    async def run(self, query: bytes) -> bytes:
        """Return the result of this process on *query*, a topic with its argument.

        The result is null when no handler is registered for the topic, or when it fails, which is logged.
        """
        topic, _, argument = query.partition(SEPARATOR)
        handler = self._handlers.get(topic)
        if handler is None:
            return b"null"
        try:
            async with asyncio.timeout(QUERY_TIMEOUT):
                result = await handler(argument)
        except Exception:
            logger.exception("query %r failed in this worker", topic.decode())
            return b"null"
        if len(result) > MAX_RESULT:
            logger.error("query %r has a result of %d bytes, more than %d", topic.decode(), len(result), MAX_RESULT)
            return b"null"
        return result

    async def run_in_all(self, topic: bytes, argument: bytes = b"") -> bytes:
        """Return a JSON object with the result of each worker by its number; a single process is worker 1.

        Raises TimeoutError when the supervisor does not respond, Unavailable while too many queries run, and ValueError
        when *argument* is too large.
        """
        if len(argument) > MAX_ARGUMENT:
            raise ValueError(f"expected an argument of {MAX_ARGUMENT} bytes at most, got {len(argument)}")
        if self._running >= MAX_QUERIES:
            raise Unavailable(f"{MAX_QUERIES} queries run already", detail="too many queries run; try again")
        query = topic + SEPARATOR + argument
        self._running += 1
        try:
            if self.query_supervisor is not None:
                return await self.query_supervisor(query)
            return combine({"1": await self.run(query)})
        finally:
            self._running -= 1


WORKER_QUERIES: Key[WorkerQueries] = Key("worker_queries")


class QueryCoordinator:
    """The supervisor's side: sends a query to the workers of *list_workers* and collects their results."""

    def __init__(self, list_workers: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._list_workers = list_workers
        self._ids = count()
        self._pending: dict[int, asyncio.Future[bytes]] = {}

    async def run_in_all(self, query: bytes) -> bytes:
        """Return the results of all workers on *query*, as :meth:`WorkerQueries.run_in_all` does."""
        workers = {worker.slot: worker for worker in self._list_workers() if worker.serves}
        results = await asyncio.gather(*(self._run_in(worker, query) for worker in workers.values()))
        return combine(dict(zip(workers, results, strict=True)))

    async def _run_in(self, worker: WorkerProcess, query: bytes) -> bytes:
        if worker.backlog > MAX_BACKLOG:
            return b"null"
        query_id = next(self._ids)
        result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[query_id] = result
        worker.send_query(QUERY_ID.pack(query_id) + query)
        try:
            waits: set[asyncio.Future[Any]] = {result, worker.ended}
            await asyncio.wait(waits, timeout=QUERY_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
            return result.result() if result.done() else b"null"
        finally:
            del self._pending[query_id]

    def receive(self, content: bytes) -> None:
        """Store the result of a worker; discard one that arrives after the timeout."""
        (query_id,) = QUERY_ID.unpack_from(content)
        result = self._pending.get(query_id)
        if result is not None and not result.done():
            result.set_result(content[QUERY_ID.size :])


def combine(results: Mapping[str, bytes]) -> bytes:
    """Return the JSON object ``{"workers": {...}}`` of *results*, each JSON, by the worker's number.

    Results that exceed MAX_RESULTS together are null.
    """
    left, members = MAX_RESULTS, []
    for slot, result in results.items():
        fits = len(result) <= left
        left -= len(result) if fits else 0
        members.append(b'"%s":%s' % (slot.encode(), result if fits else b"null"))
    return b'{"workers":{%s}}' % b",".join(members)
