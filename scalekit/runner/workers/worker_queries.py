"""Run a query in every worker and combine the results.

A connection reaches whichever worker accepts it, but a page about processes has to show all of them.
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

QueryHandler = Callable[[], Awaitable[bytes]]

QUERY_ID = struct.Struct("!Q")
"""The id of a query, with which each result begins."""
QUERY_TIMEOUT = 5.0
"""Seconds to wait for the workers; the result of a worker that does not respond in time is null."""


class WorkerQueries:
    """The queries that this process can run, by topic, and the way to run one in all workers; results are JSON."""

    def __init__(self) -> None:
        self.query_supervisor: Callable[[bytes], Awaitable[bytes]] | None = None
        self._handlers: dict[bytes, QueryHandler] = {}

    def register(self, topic: bytes, handler: QueryHandler) -> None:
        """Run *handler* for queries on *topic* in this process."""
        self._handlers[topic] = handler

    async def run(self, topic: bytes) -> bytes:
        """Return the result of this process; null when no handler is registered for *topic*."""
        handler = self._handlers.get(topic)
        return b"null" if handler is None else await handler()

    async def run_in_all(self, topic: bytes) -> bytes:
        """Return a JSON object with the result of each worker by its number; a single process is worker 1.

        Raises TimeoutError when the supervisor does not respond.
        """
        if self.query_supervisor is not None:
            return await self.query_supervisor(topic)
        return combine({"1": await self.run(topic)})


WORKER_QUERIES: Key[WorkerQueries] = Key("worker_queries")


class QueryCoordinator:
    """The supervisor's side: sends a query to the workers of *list_workers* and collects their results."""

    def __init__(self, list_workers: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._list_workers = list_workers
        self._ids = count()
        self._pending: dict[int, asyncio.Future[bytes]] = {}

    async def run_in_all(self, topic: bytes) -> bytes:
        """Return the results of all workers on *topic*, as :meth:`WorkerQueries.run_in_all` does."""
        queries = {worker.slot: self._run_in(worker, topic) for worker in self._list_workers() if worker.serves}
        results = await asyncio.gather(*queries.values())
        return combine(dict(zip(queries, results, strict=True)))

    async def _run_in(self, worker: WorkerProcess, topic: bytes) -> bytes:
        query_id = next(self._ids)
        result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[query_id] = result
        worker.send_query(QUERY_ID.pack(query_id) + topic)
        try:
            async with asyncio.timeout(QUERY_TIMEOUT):
                return await result
        except TimeoutError:
            return b"null"
        finally:
            del self._pending[query_id]

    def receive(self, content: bytes) -> None:
        """Store the result of a worker; discard one that arrives after the timeout."""
        (query_id,) = QUERY_ID.unpack_from(content)
        result = self._pending.get(query_id)
        if result is not None and not result.done():
            result.set_result(content[QUERY_ID.size :])


def combine(results: Mapping[str, bytes]) -> bytes:
    """Return the JSON object ``{"workers": {...}}`` of *results*, each JSON, by the worker's number."""
    members = b",".join(b'"%s":%s' % (slot.encode(), result) for slot, result in results.items())
    return b'{"workers":{%s}}' % members
