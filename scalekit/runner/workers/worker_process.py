"""One worker process, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

from scalekit.runner.workers.channel import Channel, ChannelMessage, MessageKind
from scalekit.runner.workers.child_process import ChildProcess, ProcessHandle

Launch = Callable[[str, int, int], Awaitable[ProcessHandle]]
"""Starts a process for a slot, which gets two descriptors: its control socket, and where its stacks go."""
OnMessage = Callable[["WorkerProcess", ChannelMessage], None]


class WorkerProcess(ChildProcess):
    """A process in its *slot*, of which it is the *generation*-th."""

    def __init__(
        self, place: tuple[str, int], process: ProcessHandle, channel: Channel, stacks_pipe: int, on_message: OnMessage
    ) -> None:
        self.slot, self.generation = place
        self.retiring = False
        self._channel = channel
        self._on_message = on_message
        super().__init__(f"worker {self.slot}", process, stacks_pipe)
        self.heard = self.started
        self._listening = asyncio.create_task(self._listen())

    @property
    def serves(self) -> bool:
        """Whether it serves and is to go on."""
        return self._ready.is_set() and not self.retiring and not self.ended.done()

    @property
    def why_ended(self) -> str:
        """How it came to its end."""
        return "hung" if self.aborted else "retired" if self.retiring else "crashed"

    def pause_watch(self, seconds: float) -> None:
        """Leave out *seconds* in which the supervisor stood still: it could hear nothing."""
        super().pause_watch(seconds)
        self.heard = asyncio.get_running_loop().time()

    def ask_for_numbers(self) -> None:
        """Ask what it has counted."""
        self._channel.send(MessageKind.WANT_NUMBERS)

    def answer(self, total: bytes) -> None:
        """Answer its question for the numbers of all."""
        self._channel.send(MessageKind.TOTAL, total)

    def inquire(self, question: bytes) -> None:
        """Pass on a question that all workers are asked."""
        self._channel.send(MessageKind.INQUIRY, question)

    def answer_for_all(self, answers: bytes) -> None:
        """Answer its question to all workers."""
        self._channel.send(MessageKind.ANSWERS, answers)

    def report(self, line: bytes) -> None:
        """Let it write a log line."""
        self._channel.send(MessageKind.REPORT, line)

    def retire(self) -> None:
        """Let it finish what it serves, and end."""
        self.retiring = True
        self._channel.send(MessageKind.RETIRE)

    async def _listen(self) -> None:
        async for message in self._channel.messages():
            self.heard = asyncio.get_running_loop().time()
            if message.kind is MessageKind.READY:
                self._ready.set()
            else:
                self._on_message(self, message)

    async def _close(self) -> None:
        await asyncio.wait({self._listening}, timeout=1.0)  # its last numbers may still be on the way
        self._listening.cancel()
        await self._channel.close()


async def spawn(place: tuple[str, int], launch: Launch, on_message: OnMessage) -> WorkerProcess:
    """Return a worker that *launch* has started in *place*, its slot and generation; raises WorkerFailed."""
    ours, theirs = socket.socketpair()
    stacks, written = os.pipe()
    try:
        process = await launch(place[0], theirs.fileno(), written)
    except BaseException:
        ours.close()
        os.close(stacks)
        raise
    finally:
        theirs.close()
        os.close(written)
    return WorkerProcess(place, process, await Channel.open(ours), stacks, on_message)
