"""The supervisor's view of one worker process."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

from scalekit.config.tables import Server
from scalekit.runner.workers.channel import Channel, ChannelMessage, MessageKind
from scalekit.runner.workers.child_process import ChildProcess, ProcessHandle

Launch = Callable[[str, int, int], Awaitable[ProcessHandle]]
"""Starts a process for a slot with two descriptors: of its control socket and of the pipe for its stacks."""
OnMessage = Callable[["WorkerProcess", ChannelMessage], None]


class WorkerProcess(ChildProcess):
    """The worker of a slot and a generation, which counts the workers of that slot."""

    def __init__(
        self,
        identity: tuple[str, int],
        process: ProcessHandle,
        channel: Channel,
        stacks_pipe: int,
        on_message: OnMessage,
    ) -> None:
        self.slot, self.generation = identity
        self.retiring = False
        self._channel = channel
        self._on_message = on_message
        super().__init__(f"worker {self.slot}", process, stacks_pipe)
        self.last_message_at = self.started
        self._listening = asyncio.create_task(self._listen())

    @property
    def serves(self) -> bool:
        """Whether the worker serves and is not being replaced."""
        return self._ready.is_set() and not self.retiring and not self.ended.done()

    @property
    def exit_reason(self) -> str:
        """Why the worker exited: hung, retired or crashed."""
        return "hung" if self.aborted else "retired" if self.retiring else "crashed"

    def pause_watch(self, seconds: float) -> None:
        """Exclude *seconds* in which the supervisor did not run and read no heartbeats."""
        super().pause_watch(seconds)
        self.last_message_at = asyncio.get_running_loop().time()

    def request_metrics(self) -> None:
        """Request a snapshot of the worker's metrics."""
        self._channel.send(MessageKind.METRICS_REQUEST)

    def send_total(self, total: bytes) -> None:
        """Send the total of all workers, which the worker requested."""
        self._channel.send(MessageKind.TOTAL, total)

    def send_query(self, query: bytes) -> None:
        """Send a query that runs in all workers."""
        self._channel.send(MessageKind.QUERY, query)

    def send_query_results(self, results: bytes) -> None:
        """Send the results of a query in all workers, which the worker requested."""
        self._channel.send(MessageKind.QUERY_ALL_RESULT, results)

    @property
    def backlog(self) -> int:
        """Bytes that wait for the worker to read them."""
        return self._channel.backlog

    def send_hub_frame(self, frame: bytes) -> None:
        """Send a frame of the message hub."""
        self._channel.send(MessageKind.HUB, frame)

    def log(self, line: bytes) -> None:
        """Let the worker log *line*."""
        self._channel.send(MessageKind.LOG, line)

    def send_overrides(self, overrides: bytes) -> None:
        """Send the overrides of all groups."""
        self._channel.send(MessageKind.OVERRIDES, overrides)

    def retire(self) -> None:
        """Let the worker drain and exit."""
        self.retiring = True
        self._channel.send(MessageKind.RETIRE)

    async def _listen(self) -> None:
        async for message in self._channel.messages():
            self.last_message_at = asyncio.get_running_loop().time()
            if message.kind is MessageKind.READY:
                self._ready.set()
            else:
                self._on_message(self, message)

    async def _close(self) -> None:
        await asyncio.wait({self._listening}, timeout=1.0)  # its last metrics may not have been read yet
        self._listening.cancel()
        await self._channel.close()


async def spawn(identity: tuple[str, int], launch: Launch, on_message: OnMessage) -> WorkerProcess:
    """Return the worker that *launch* starts for *identity*, its slot and generation; raises WorkerFailed."""
    ours, theirs = socket.socketpair()
    stacks, stacks_end = os.pipe()
    try:
        process = await launch(identity[0], theirs.fileno(), stacks_end)
    except BaseException:
        ours.close()
        os.close(stacks)
        raise
    finally:
        theirs.close()
        os.close(stacks_end)
    return WorkerProcess(identity, process, await Channel.open(ours), stacks, on_message)


def hang_reason(child: ChildProcess, table: Server, now: float) -> str:
    """Return why *child* must be aborted, or an empty string; while it imports it sends no heartbeats."""
    if isinstance(child, WorkerProcess) and child.is_ready:
        silent = now - child.last_message_at > table.hang_timeout
        return (
            f"sent no heartbeat for {table.hang_timeout}: its event loop is blocked (server.hang_timeout)"
            if silent
            else ""
        )
    if now - child.starting_since > table.worker_start_timeout:
        remedy = "raise server.worker_start_timeout if it needs longer"
        return f"is not ready after {table.worker_start_timeout} and is killed; {remedy}"
    return ""
