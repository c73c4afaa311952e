"""Two worker processes that consume, killed in turn, and what their handlers have seen."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import suppress
from typing import Any

from tests.processes import Box, Process

CONSUMERS = """
import os

from scalekit.contracts import DATABASE
from scalekit.contracts import Consumers, Message

consumers = Consumers()
seen = os.open(f"seen-{os.getpid()}", os.O_CREAT | os.O_WRONLY)


@consumers.on("plain", prefetch=100, concurrency=20)
async def record(message: Message[int]) -> None:
    os.write(seen, b"%d\\n" % message.body)


@consumers.on("once", prefetch=100, concurrency=4, dedupe="1h", retry=["100ms"] * 9)
async def write_effect(message: Message[int]) -> None:
    await message.context.get(DATABASE).execute("INSERT INTO effects VALUES (:number)", {"number": message.body})
"""


class KilledWorkers:
    """Two processes of ``scalekit run --only queue``, killed in turn."""

    def __init__(self, box: Box, table: dict[str, Any], pool: dict[str, Any]) -> None:
        self.box = box
        self.killed = 0
        self.box.write("events.py", CONSUMERS)
        tables = {"pool": pool, "queue": {**table, "consumers": "events:consumers"}}
        lines = [f"[plugins.{name}]\n{_toml(values)}" for name, values in tables.items()]
        self.box.write("scalekit.toml", "\n".join(lines))
        self.processes = [self._spawn(), self._spawn()]

    def _spawn(self) -> Process:
        return self.box.spawn(sys.executable, "-m", "scalekit", "run", "--only", "queue")

    async def kill_periodically(self, interval: float, stop: asyncio.Event) -> None:
        """Kill a process *interval* seconds after it was seen to handle messages, one after the other.

        A process has that time for its messages, however long its start takes: else they would not come to an end.
        """
        while not stop.is_set():
            busy = next((process for process in self.processes if self._has_seen(process)), None)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01 if busy is None else interval):
                    await stop.wait()
            if busy is not None and not stop.is_set():
                await self._replace(busy)

    def _has_seen(self, process: Process) -> bool:
        file = self.box.directory / f"seen-{process.pid}"
        return file.exists() and file.stat().st_size > 0

    async def _replace(self, process: Process) -> None:
        await asyncio.to_thread(self.box.kill, process)
        self.processes.remove(process)
        self.processes.append(await asyncio.to_thread(self._spawn))
        self.killed += 1

    def seen(self) -> Counter[int]:
        return Counter(int(line) for file in self.box.directory.glob("seen-*") for line in file.read_text().split())


def _toml(values: dict[str, Any]) -> str:
    return "\n".join(f"{key} = {value!r}" for key, value in values.items())
