"""A worker's side of the channel: send heartbeats and metrics, handle the supervisor's messages."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count

from scalekit.message_hub import WorkerHub
from scalekit.overrides import ProcessOverrides
from scalekit.runner.workers.channel import Channel, MessageKind
from scalekit.runner.workers.log_forwarder import log_forwarded
from scalekit.runner.workers.supervisor_hub import SupervisorHub
from scalekit.runner.workers.worker_queries import QUERY_ID, QUERY_TIMEOUT, WorkerQueries, combine
from scalekit.telemetry import Telemetry
from scalekit.telemetry.snapshot import Snapshot, decode, encode

logger = logging.getLogger("scalekit")

HEARTBEAT_INTERVAL = 1.0
"""Seconds between two heartbeats. Metrics are sent with them, so a killed worker loses those of one interval."""
TOTAL_TIMEOUT = 2.0
OVERRIDES_TIMEOUT = 5.0
"""Seconds that the start waits for the overrides of the service."""
QUERY_ALL_TIMEOUT = QUERY_TIMEOUT + 1.0
"""Seconds to wait for the results of all workers; the supervisor itself waits one second less."""


class WorkerControl:
    """The connection of a worker to its supervisor."""

    def __init__(
        self,
        end: socket.socket,
        telemetry: Telemetry,
        queries: WorkerQueries,
        hub: WorkerHub,
        overrides: ProcessOverrides,
    ) -> None:
        self._end = end
        self._telemetry = telemetry
        self._queries = queries
        self._hub = hub
        self._hub_client = SupervisorHub(hub, self._send_hub_frame, self._unsent)
        self._overrides = overrides
        self._has_overrides = asyncio.Event()
        self._channel: Channel | None = None
        self._query_ids = count()
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._query_tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def connected(self, retire: Callable[[], None], orphaned: Callable[[], None]) -> AsyncGenerator[None, None]:
        """Keep the channel open; call *retire* on replacement, *orphaned* when the supervisor has exited."""
        self._channel = channel = await Channel.open(self._end)
        self._telemetry.gather = self.total
        self._queries.query_supervisor = self.query_all
        self._hub.client = self._hub_client
        self._overrides.forward = partial(channel.send, MessageKind.OVERRIDE_CHANGE)
        tasks = [
            asyncio.create_task(self._send_heartbeats(channel)),
            asyncio.create_task(self._handle_messages(channel, retire, orphaned)),
        ]
        try:
            await self._wait_for_overrides()
            yield
        finally:
            tasks += self._query_tasks
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._send_metrics(channel)
            await channel.close()

    async def _wait_for_overrides(self) -> None:
        """Wait for the first message of the supervisor, so that plugins start with the overrides of the service."""
        try:
            async with asyncio.timeout(OVERRIDES_TIMEOUT):
                await self._has_overrides.wait()
        except TimeoutError:
            logger.warning("the supervisor has sent no overrides within %gs; starting without", OVERRIDES_TIMEOUT)

    def _send_hub_frame(self, frame: bytes) -> None:
        if self._channel is not None:
            self._channel.send(MessageKind.HUB, frame)

    def _unsent(self) -> int:
        return self._channel.backlog if self._channel is not None else 0

    def ready(self) -> None:
        """Report that this worker serves."""
        if self._channel is not None:
            self._channel.send(MessageKind.READY)

    def _send_metrics(self, channel: Channel) -> None:
        if self._telemetry.recording:
            channel.send(MessageKind.METRICS, encode(self._telemetry.snapshot()))

    async def total(self) -> Snapshot:
        """Return the total of the metrics of all workers; raises TimeoutError when the supervisor does not respond."""
        if self._channel is None:
            return self._telemetry.snapshot()
        return decode(await self._request(self._channel, MessageKind.TOTAL_REQUEST, b"", TOTAL_TIMEOUT))

    async def query_all(self, query: bytes) -> bytes:
        """Return the results of all workers on *query*; raises TimeoutError when the supervisor does not respond."""
        if self._channel is None:
            return combine({"1": await self._queries.run(query)})
        return await self._request(self._channel, MessageKind.QUERY_ALL, query, QUERY_ALL_TIMEOUT)

    async def _request(self, channel: Channel, kind: MessageKind, content: bytes, timeout: float) -> bytes:
        query_id = next(self._query_ids)
        result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[query_id] = result
        channel.send(kind, QUERY_ID.pack(query_id) + content)
        try:
            async with asyncio.timeout(timeout):
                return await result
        finally:
            del self._pending[query_id]

    async def _send_heartbeats(self, channel: Channel) -> None:
        while True:
            if not channel.backlog:  # else the supervisor does not read, and messages would accumulate
                channel.send(MessageKind.HEARTBEAT)
                self._send_metrics(channel)
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    async def _handle_messages(
        self, channel: Channel, retire: Callable[[], None], orphaned: Callable[[], None]
    ) -> None:
        async for message in channel.messages():
            if message.kind is MessageKind.RETIRE:
                retire()
            elif message.kind is MessageKind.HUB:
                self._hub_client.receive(message.content)
            elif message.kind is MessageKind.METRICS_REQUEST:
                self._send_metrics(channel)
            elif message.kind in (MessageKind.TOTAL, MessageKind.QUERY_ALL_RESULT):
                self._resolve(message.content)
            elif message.kind is MessageKind.QUERY:
                self._start_query(channel, message.content)
            elif message.kind is MessageKind.OVERRIDES:
                self._overrides.receive(message.content)
                self._has_overrides.set()
            elif message.kind is MessageKind.LOG:
                log_forwarded(message.content)
        orphaned()

    def _resolve(self, content: bytes) -> None:
        (query_id,) = QUERY_ID.unpack_from(content)
        result = self._pending.get(query_id)
        if result is not None and not result.done():
            result.set_result(content[QUERY_ID.size :])

    def _start_query(self, channel: Channel, query: bytes) -> None:
        task = asyncio.create_task(self._run_query(channel, query[: QUERY_ID.size], query[QUERY_ID.size :]))
        self._query_tasks.add(task)
        task.add_done_callback(self._query_tasks.discard)

    async def _run_query(self, channel: Channel, query_id: bytes, query: bytes) -> None:
        channel.send(MessageKind.QUERY_RESULT, query_id + await self._queries.run(query))
