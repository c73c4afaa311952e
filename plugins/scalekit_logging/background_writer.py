"""Buffer log lines and write them in a thread, so that no caller waits for a file or a stream.

Access records are formatted by the thread that adds them, RECORDS_PER_BATCH at a time, and the writer thread receives
one text: freeing on one core the many small objects that another core allocated costs more than formatting them. When
there are few requests, the writer thread formats the remaining records.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from threading import Lock, Thread
from typing import NamedTuple, Protocol, TypeVar

from scalekit_logging.access_log import AccessRecord
from scalekit_logging.json_formatter import LEVEL_OFFSET
from scalekit_logging.levels import NAMES
from scalekit_logging.sinks import BUFFER, ERROR_LETTERS, Loss, MonitoredSink

RECORDS_PER_BATCH = 64
"""Buffered entries at which the adding thread formats them as one text."""
WRITE_INTERVAL = 0.05
"""Seconds between two batches."""
RETRY_INTERVAL = 1.0
"""Seconds until a failed sink is retried when no line is logged."""
RECORD_SIZE = 512
"""Estimated bytes of an access line before it is formatted."""
BUFFER_FULL = "buffer full"
PROCESS_STOPPED = "process stopped"

T = TypeVar("T")

_LEVELS = {ord(name[0]): name for name in NAMES.values()}
_level_letter = itemgetter(LEVEL_OFFSET)


class LineBatch(NamedTuple):
    """Complete lines as one *text*; *levels* has the first letter of the level of each."""

    text: bytes
    levels: bytes

    @classmethod
    def of(cls, lines: list[bytes]) -> LineBatch:
        """Return *lines* as one batch."""
        return cls(b"".join(lines), bytes(map(_level_letter, lines)))

    def errors(self) -> bytes:
        """Return the lines of level error and above."""
        if not any(letter in self.levels for letter in ERROR_LETTERS):
            return b""
        lines = zip(self.text.splitlines(keepends=True), self.levels, strict=True)
        return b"".join([line for line, level in lines if level in ERROR_LETTERS])


class LineCounter(Protocol):
    """Counts written and lost lines."""

    def count_written(self, level: str, lines: int) -> None:
        """Count lines written to the sinks."""
        ...

    def count_lost(self, sink: str, reason: str, lines: int) -> None:
        """Count lines that a sink lost."""
        ...


class BinarySemaphore:
    """A semaphore of one permit whose release never blocks, so a signal handler may call it at any time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def release(self) -> None:
        """Wake the thread that waits in acquire, or that calls it next."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # already released, and not acquired since

    def acquire(self, timeout: float | None) -> None:
        """Wait for a release, for *timeout* seconds at most."""
        self._lock.acquire(timeout=-1 if timeout is None else timeout)


class BackgroundWriter:
    """A buffer of about *max_bytes* and the thread that formats its entries and writes them to *sinks*."""

    def __init__(
        self,
        sinks: Sequence[MonitoredSink],
        max_bytes: int,
        format_entries: Callable[[list[bytes | AccessRecord]], list[bytes]],
        counter: LineCounter,
    ) -> None:
        self._sinks = sinks
        self._max_bytes = max_bytes
        self._flush_size = max_bytes // 2
        self._counter = counter
        self._format = format_entries
        self._entries: deque[bytes | AccessRecord] = deque()
        self._batches: deque[LineBatch] = deque()  # older than all entries
        self._format_lock = Lock()
        # The buffer holds the difference: callers add to the first, the writer thread to the second.
        self._added = 0
        self._taken = 0
        self._flush_at = self._flush_size
        self._flush_requested = False
        self._dropped = 0
        self._reported = 0
        self._idle = False
        self._wake = BinarySemaphore()
        self._stopping = False
        self._deadline = 0.0
        self._thread = Thread(target=self._run, name="scalekit: log writer", daemon=True)

    def start(self) -> None:
        """Open the sinks and start the thread; raises OSError when a sink cannot be opened."""
        for sink in self._sinks:
            sink.sink.open()
        self._thread.start()

    def add(self, line: bytes) -> None:
        """Buffer the complete *line*; it is lost when the buffer is full."""
        if self._added > self._flush_at and self._is_full():
            return
        size = len(line)
        self._added += size
        self._entries.append(line)
        if self._idle:
            self._wake_up()

    def add_access(self, record: AccessRecord) -> None:
        """Buffer the access record of a request; it is lost when the buffer is full."""
        if self._added > self._flush_at and self._is_full():
            return
        self._added += RECORD_SIZE
        entries = self._entries
        entries.append(record)
        if len(entries) >= RECORDS_PER_BATCH:
            self._format_batch()
        if self._idle:
            self._wake_up()

    def _format_batch(self) -> None:
        """Format all entries as one batch, unless another thread is formatting them."""
        if self._format_lock.acquire(blocking=False):
            try:
                self._batches.append(LineBatch.of(self._format(_drain(self._entries))))
            finally:
                self._format_lock.release()

    def _is_full(self) -> bool:
        """Request a flush; return whether the buffer is full."""
        if not self._flush_requested:
            self._flush_requested = True
            self._wake.release()
        full = self._added - self._taken > self._max_bytes
        self._dropped += full
        return full

    def _wake_up(self) -> None:
        self._idle = False
        self._wake.release()

    def error(self) -> str:
        """Return why lines are being lost; empty when none are."""
        return "; ".join(sink.error for sink in self._sinks if sink.error)

    def stop(self, timeout: float) -> None:
        """Flush the buffer, for at most *timeout* seconds, and stop the thread."""
        self._deadline = time.monotonic() + timeout
        self._stopping = True
        self._wake.release()
        self._thread.join(timeout + 2 * WRITE_INTERVAL)
        if not self._thread.is_alive():  # a thread that hangs in a write still uses its descriptor
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
            if not (self._stopping or self._flush_requested):  # the permit of a flush may be consumed already
                self._wake.acquire(WRITE_INTERVAL)  # collects more lines, for larger batches
            lines = self._write_batch()
        self._write_batch()
        while self._has_pending() and time.monotonic() < self._deadline:
            time.sleep(WRITE_INTERVAL / 10)
            self._write_batch()
        for sink in self._sinks:
            if lines := sink.sink.pending():
                sink.record_loss(Loss(lines, PROCESS_STOPPED), self._counter.count_lost)

    def _wait_for_entries(self) -> None:
        """Wait for the next entry, or until a failed sink is due for a retry."""
        self._idle = True
        if not (self._entries or self._batches):  # earlier entries have not woken the thread
            timeout = WRITE_INTERVAL if self._has_pending() else RETRY_INTERVAL if self.error() else None
            self._wake.acquire(timeout)
        self._idle = False

    def _has_pending(self) -> bool:
        return any(sink.sink.pending() for sink in self._sinks)

    def _write_batch(self) -> int:
        """Write the buffered entries; return the number of lines."""
        self._flush_requested = False  # first: a caller that finds the buffer full from now on requests another flush
        batch = self._take_batch()
        dropped = self._dropped - self._reported
        self._reported += dropped
        errors = batch.errors()
        for sink in self._sinks:
            sink.write(errors if sink.errors_only else batch.text, self._counter.count_lost)
        if dropped:
            self._record_dropped(dropped)
        for level, name in _LEVELS.items():
            if number := batch.levels.count(level):
                self._counter.count_written(name, number)
        return len(batch.levels)

    def _record_dropped(self, lines: int) -> None:
        self._counter.count_lost(BUFFER, BUFFER_FULL, lines)
        for sink in self._sinks:
            if not sink.errors_only:
                sink.record_loss(Loss(lines, BUFFER_FULL))

    def _take_batch(self) -> LineBatch:
        taken = self._added
        with self._format_lock:
            batches = [*_drain(self._batches), LineBatch.of(self._format(_drain(self._entries)))]
        self._taken = taken  # entries added since count as buffered until the next batch
        self._flush_at = taken + self._flush_size
        return LineBatch(b"".join([batch.text for batch in batches]), b"".join([batch.levels for batch in batches]))


def _drain(queue: deque[T]) -> list[T]:
    """Remove and return the current items of *queue*; other threads may add more meanwhile."""
    popleft = queue.popleft
    return [popleft() for _ in range(len(queue))]
