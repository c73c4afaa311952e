"""Buffer log lines and write them in a thread, so that no caller waits for a file or a stream.

The parts of an access line are formatted by the thread that made them, SHAPED_TOGETHER requests at a time, and the
writer's thread gets one text of all: a dozen small objects for each request that one core makes and another frees cost
both of them more than formatting does. The writer's thread formats what is left over when there are few requests.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from threading import Lock, Thread
from typing import NamedTuple, Protocol, TypeVar

from scalekit_logging.access_log import AccessRecord
from scalekit_logging.json_formatter import LEVEL_AT
from scalekit_logging.levels import NAMES
from scalekit_logging.sinks import BUFFER, ERRORS, Loss, MonitoredSink

SHAPED_TOGETHER = 64
"""Entries that are made into one text."""
EVERY = 0.05
"""Seconds between two batches."""
RETRY = 1.0
"""Seconds until a failed sink is retried when no line is logged."""
ABOUT_A_LINE = 512
"""Bytes that the line of a request is taken for before it is shaped."""
FULL = "buffer full"
STOPPED = "process stopped"

T = TypeVar("T")

_LEVELS = {ord(name[0]): name for name in NAMES.values()}
_level_of = itemgetter(LEVEL_AT)


class LineBatch(NamedTuple):
    """Whole lines as one *text*; *levels* has the first letter of the level of each."""

    text: bytes
    levels: bytes

    @classmethod
    def of(cls, lines: list[bytes]) -> LineBatch:
        """Return *lines* as one batch."""
        return cls(b"".join(lines), bytes(map(_level_of, lines)))

    def errors(self) -> bytes:
        """Return those of its lines whose level is an error's."""
        if not any(letter in self.levels for letter in ERRORS):
            return b""
        lines = zip(self.text.splitlines(keepends=True), self.levels, strict=True)
        return b"".join([line for line, level in lines if level in ERRORS])


class LineCounter(Protocol):
    """Counts written and lost lines."""

    def written(self, level: str, lines: int) -> None:
        """Count lines written to the sinks."""
        ...

    def lost(self, sink: str, reason: str, lines: int) -> None:
        """Count lines that a sink lost."""
        ...


class BinarySemaphore:
    """A semaphore of one permit; a signal handler may release it at any time, since that waits for nothing."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def release(self) -> None:
        """Wake the thread that acquires it, now or next."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # already released, and not acquired since

    def acquire(self, limit: float | None) -> None:
        """Wait until it is released, for *limit* seconds at most."""
        self._lock.acquire(timeout=-1 if limit is None else limit)


class BackgroundWriter:
    """A buffer of about *limit* bytes and the thread that writes it to *sinks*; *shape* formats its entries."""

    def __init__(
        self,
        sinks: Sequence[MonitoredSink],
        limit: int,
        shape: Callable[[list[bytes | AccessRecord]], list[bytes]],
        tally: LineCounter,
    ) -> None:
        self._sinks = sinks
        self._limit = limit
        self._much = limit // 2
        self._tally = tally
        self._shape = shape
        self._entries: deque[bytes | AccessRecord] = deque()
        self._batches: deque[LineBatch] = deque()  # which came before all of the entries
        self._shaping = Lock()
        # What waits is the difference; those who log change the first, the thread the second.
        self._added = 0
        self._taken = 0
        self._pressing_from = self._much
        self._pressed = False
        self._refused = 0
        self._refused_before = 0
        self._idle = False
        self._wake = BinarySemaphore()
        self._stopping = False
        self._deadline = 0.0
        self._thread = Thread(target=self._run, name="scalekit: log writer", daemon=True)

    def start(self) -> None:
        """Open the sinks and start the thread; raises OSError when one cannot be opened."""
        for sink in self._sinks:
            sink.sink.open()
        self._thread.start()

    def add(self, line: bytes) -> None:
        """Buffer the complete *line*; it is lost when the buffer is full."""
        if self._added > self._pressing_from and self._is_full():
            return
        size = len(line)
        self._added += size
        self._entries.append(line)
        if self._idle:
            self._wake_up()

    def add_access(self, ending: AccessRecord) -> None:
        """Buffer the record of a request, to be formatted and written."""
        if self._added > self._pressing_from and self._is_full():
            return
        self._added += ABOUT_A_LINE
        entries = self._entries
        entries.append(ending)
        if len(entries) >= SHAPED_TOGETHER:
            self._shape_entries()
        if self._idle:
            self._wake_up()

    def _shape_entries(self) -> None:
        """Make one text of all entries, unless the writer's thread is doing so."""
        if self._shaping.acquire(blocking=False):
            try:
                self._batches.append(LineBatch.of(self._shape(_drain(self._entries))))
            finally:
                self._shaping.release()

    def _is_full(self) -> bool:
        """Wake the thread to write now; return whether the buffer is full."""
        if not self._pressed:
            self._pressed = True
            self._wake.release()
        full = self._added - self._taken > self._limit
        self._refused += full
        return full

    def _wake_up(self) -> None:
        self._idle = False
        self._wake.release()

    def error(self) -> str:
        """Return why lines are being lost; empty when none are."""
        return "; ".join(sink.error for sink in self._sinks if sink.error)

    def stop(self, limit: float) -> None:
        """Flush the buffer, for at most *limit* seconds, and stop the thread."""
        self._deadline = time.monotonic() + limit
        self._stopping = True
        self._wake.release()
        self._thread.join(limit + 2 * EVERY)
        if not self._thread.is_alive():  # else it hangs in a write, and its descriptor must stay its own
            self.close()

    def close(self) -> None:
        """Close the sinks."""
        for sink in self._sinks:
            sink.sink.close()

    def _run(self) -> None:
        lines = 0
        while not self._stopping:
            if not lines:
                self._wait_for_entries()
            if not (self._stopping or self._pressed):  # which may have come with the first entry, in one permit
                self._wake.acquire(EVERY)  # more lines come in the meantime, which makes larger batches
            lines = self._write_batch()
        self._write_batch()
        while self._waiting() and time.monotonic() < self._deadline:
            time.sleep(EVERY / 10)
            self._write_batch()
        for sink in self._sinks:
            if lines := sink.sink.waiting():
                sink.lose(Loss(lines, STOPPED), self._tally.lost)

    def _wait_for_entries(self) -> None:
        """Wait for the next entry, or until a sink that failed may be tried again."""
        self._idle = True
        if not (self._entries or self._batches):  # those that came before have not woken the thread
            self._wake.acquire(EVERY if self._waiting() else RETRY if self.error() else None)
        self._idle = False

    def _waiting(self) -> bool:
        return any(sink.sink.waiting() for sink in self._sinks)

    def _write_batch(self) -> int:
        """Write the buffered entries; return the number of lines."""
        self._pressed = False  # before entries are taken: a caller that finds the buffer full afterwards wakes it again
        batch = self._take()
        refused = self._refused - self._refused_before
        self._refused_before += refused
        errors = batch.errors()
        for sink in self._sinks:
            sink.write(errors if sink.errors_only else batch.text, self._tally.lost)
        if refused:
            self._tally.lost(BUFFER, FULL, refused)
            for sink in self._sinks:
                if not sink.errors_only:
                    sink.lose(Loss(refused, FULL))
        for level, name in _LEVELS.items():
            if number := batch.levels.count(level):
                self._tally.written(name, number)
        return len(batch.levels)

    def _take(self) -> LineBatch:
        taken = self._added
        with self._shaping:
            batches = [*_drain(self._batches), LineBatch.of(self._shape(_drain(self._entries)))]
        self._taken = taken  # what came in since is counted as waiting until the next time
        self._pressing_from = taken + self._much
        return LineBatch(b"".join([each.text for each in batches]), b"".join([each.levels for each in batches]))


def _drain(queue: deque[T]) -> list[T]:
    """Return what *queue* holds now, and take it out; more may be added meanwhile."""
    popleft = queue.popleft
    return [popleft() for _ in range(len(queue))]
