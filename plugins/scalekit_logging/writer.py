"""Take lines from whoever logs, without making anybody wait, and write them in a thread of its own."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Protocol

from scalekit_logging.access import Ending
from scalekit_logging.levels import NAMES
from scalekit_logging.lines import LEVEL_AT
from scalekit_logging.outlets import BUFFER, Loss, Outlet

EVERY = 0.05
"""Seconds between two batches."""
RETRY = 1.0
"""Seconds until an outlet that failed is tried again when nothing is logged meanwhile."""
ABOUT_A_LINE = 512
"""Bytes that the line of a request is taken for before it is shaped."""
FULL = "the buffer is full"
STOPPED = "the process ended"

_LEVELS = {ord(name[0]): name for name in NAMES.values()}


class Tally(Protocol):
    """Counts what became of lines."""

    def written(self, level: str, lines: int) -> None:
        """Count lines that were handed to the outlets."""
        ...

    def lost(self, outlet: str, reason: str, lines: int) -> None:
        """Count lines that an outlet did not get."""
        ...


class Writer:
    """A buffer of about *limit* bytes and the thread that empties it into *outlets*; *shape* makes lines of all."""

    def __init__(
        self, outlets: Sequence[Outlet], limit: int, shape: Callable[[list[bytes | Ending]], list[bytes]], tally: Tally
    ) -> None:
        self._outlets = outlets
        self._limit = limit
        self._much = limit // 2
        self._tally = tally
        self._shape = shape
        self._entries: deque[bytes | Ending] = deque()
        # What waits is the difference; those who log change the first, the thread the second.
        self._added = 0
        self._taken = 0
        self._refused = 0
        self._refused_before = 0
        self._asked = False
        self._filled = Event()
        self._pressed = Event()
        self._stopping = False
        self._deadline = 0.0
        self._thread = Thread(target=self._run, name="scalekit: log writer", daemon=True)

    def start(self) -> None:
        """Open the outlets and begin to write; raises OSError when one cannot be opened."""
        for outlet in self._outlets:
            outlet.sink.open()
        self._thread.start()

    def add(self, line: bytes) -> None:
        """Take *line*, a whole one, to be written soon; when there is no room it is lost."""
        if self._added - self._taken > self._much and self._is_full():
            return
        self._added += len(line)
        self._entries.append(line)
        if not self._asked:
            self._asked = True
            self._filled.set()

    def add_ending(self, ending: Ending) -> None:
        """Take what a request's line says, to be shaped and written soon."""
        if self._added - self._taken > self._much and self._is_full():
            return
        self._added += ABOUT_A_LINE
        self._entries.append(ending)
        if not self._asked:
            self._asked = True
            self._filled.set()

    def _is_full(self) -> bool:
        """Press the thread to write now; tell whether that comes too late."""
        self._pressed.set()
        full = self._added - self._taken > self._limit
        self._refused += full
        return full

    def trouble(self) -> str:
        """Return why lines are being lost now; empty when none are."""
        return "; ".join(outlet.trouble for outlet in self._outlets if outlet.trouble)

    def stop(self, limit: float) -> None:
        """Write what waits, for *limit* seconds at most, and end."""
        self._deadline = time.monotonic() + limit
        self._stopping = True
        self._pressed.set()
        self._filled.set()
        self._thread.join(limit + 2 * EVERY)
        if not self._thread.is_alive():  # else it hangs in a write, and its descriptor must stay its own
            self.close()

    def close(self) -> None:
        """Close the outlets."""
        for outlet in self._outlets:
            outlet.sink.close()

    def _run(self) -> None:
        while not self._stopping:
            self._filled.wait(EVERY if self._waiting() else RETRY if self.trouble() else None)
            self._pressed.wait(EVERY)  # more lines come in the meantime, which makes larger batches
            self._write_batch()
        self._write_batch()
        while self._waiting() and time.monotonic() < self._deadline:
            time.sleep(EVERY / 10)
            self._write_batch()
        for outlet in self._outlets:
            if lines := outlet.sink.waiting():
                outlet.lose(Loss(lines, STOPPED), self._tally.lost)

    def _waiting(self) -> bool:
        return any(outlet.sink.waiting() for outlet in self._outlets)

    def _write_batch(self) -> None:
        # In this order: a line that comes after the last step asks anew.
        self._filled.clear()
        self._pressed.clear()
        self._asked = False
        lines = self._take()
        refused = self._refused - self._refused_before
        self._refused_before += refused
        for outlet in self._outlets:
            outlet.write(lines, self._tally.lost)
        if refused:
            self._tally.lost(BUFFER, FULL, refused)
            for outlet in self._outlets:
                if not outlet.errors_only:
                    outlet.lose(Loss(refused, FULL))
        for level, number in Counter(line[LEVEL_AT] for line in lines).items():
            self._tally.written(_LEVELS[level], number)

    def _take(self) -> list[bytes]:
        taken = self._added
        entries = [self._entries.popleft() for _ in range(len(self._entries))]
        self._taken = taken  # what came in since is counted as waiting until the next time
        return self._shape(entries)
