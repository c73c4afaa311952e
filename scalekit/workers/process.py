"""One worker process, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence

from scalekit.errors import ScalekitError
from scalekit.workers.channel import Channel, Kind, Sent
from scalekit.workers.place import Place

ABORT_GRACE = 2.0
"""Seconds that a process gets to write its stacks after SIGABRT before it is killed."""

LARGEST_STACKS = 65_536
"""Bytes of stacks that are read, which is what a pipe holds."""

OnMessage = Callable[["Worker", Sent], None]


class WorkerFailed(ScalekitError):
    """A worker ended before it served; its own log says why."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name} did not start: {described(status)}")
        self.exit_status = status if 0 < status < 128 else 1


class Worker:
    """A process in its *slot*, of which it is the *generation*-th."""

    stacks = ""
    """Where its threads were when it crashed or was ended because it hung."""

    def __init__(self, slot: str, generation: int, process: Process, channel: Channel, on_message: OnMessage) -> None:
        self.slot = slot
        self.generation = generation
        self.pid = process.pid
        loop = asyncio.get_running_loop()
        self.started = self.starting_since = self.heard = loop.time()
        self.retiring = False
        self.aborted = False
        self.stacks_pipe: int | None = None
        self._process = process
        self._channel = channel
        self._on_message = on_message
        self._ready = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())
        self.ended = asyncio.create_task(self._end())

    def __str__(self) -> str:
        return f"worker {self.slot} (pid {self.pid})"

    async def wait_until_ready(self) -> None:
        """Wait until it serves; raises WorkerFailed when it ends first."""
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self.ended}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not self._ready.is_set():
            raise WorkerFailed(str(self), self.ended.result())

    @property
    def is_ready(self) -> bool:
        """Whether it has served."""
        return self._ready.is_set()

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
        self.heard = asyncio.get_running_loop().time()
        self.starting_since += seconds

    def ask_for_numbers(self) -> None:
        """Ask what it has counted."""
        self._channel.send(Kind.WANT_NUMBERS)

    def answer(self, total: bytes) -> None:
        """Answer its question for the numbers of all."""
        self._channel.send(Kind.TOTAL, total)

    def inquire(self, question: bytes) -> None:
        """Pass on a question that all workers are asked."""
        self._channel.send(Kind.INQUIRY, question)

    def answer_for_all(self, answers: bytes) -> None:
        """Answer its question to all workers."""
        self._channel.send(Kind.ANSWERS, answers)

    def report(self, line: bytes) -> None:
        """Let it write a log line."""
        self._channel.send(Kind.REPORT, line)

    def retire(self) -> None:
        """Let it finish what it serves, and end."""
        self.retiring = True
        self._channel.send(Kind.RETIRE)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing when it has ended."""
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def abort(self) -> None:
        """End it at once; it shows its stacks if it can."""
        self.aborted = True
        self.signal(signal.SIGABRT)
        await asyncio.wait({self.ended}, timeout=ABORT_GRACE)
        self.signal(signal.SIGKILL)

    async def _listen(self) -> None:
        async for message in self._channel.messages():
            self.heard = asyncio.get_running_loop().time()
            if message.kind is Kind.READY:
                self._ready.set()
            else:
                self._on_message(self, message)

    async def _end(self) -> int:
        status = await self._process.wait()
        await asyncio.wait({self._listening}, timeout=1.0)  # its last numbers may still be on the way
        self._listening.cancel()
        await self._channel.close()
        self.stacks = self._read_stacks()
        return status

    def _read_stacks(self) -> str:
        if self.stacks_pipe is None:
            return ""
        with open(self.stacks_pipe, "rb", buffering=0) as pipe:
            self.stacks_pipe = None
            os.set_blocking(pipe.fileno(), False)
            return (pipe.read(LARGEST_STACKS) or b"").decode("utf-8", "replace").strip()


async def spawn(
    slot: str, generation: int, command: Sequence[str], listeners: Sequence[socket.socket], on_message: OnMessage
) -> Worker:
    """Start a worker by *command*, which gets its place appended, with *listeners* handed down.

    It is in a process group of its own, so that Ctrl-C reaches the supervisor alone.
    """
    ours, theirs = socket.socketpair()
    stacks, written = os.pipe()
    try:
        with theirs:
            place = Place(slot, theirs.fileno(), written, tuple(each.fileno() for each in listeners))
            inherited = [place.control, place.stacks, *place.listeners]
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, str(place), pass_fds=inherited, process_group=0
            )
    finally:
        os.close(written)
    worker = Worker(slot, generation, process, await Channel.open(ours), on_message)
    worker.stacks_pipe = stacks
    return worker


def described(status: int) -> str:
    """Return how a process ended, for a person."""
    if status >= 0:
        return f"it ended with status {status}"
    try:
        return f"it was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"it was ended by signal {-status}"
