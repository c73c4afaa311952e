"""Queue kept traces, or errors, and send them from a thread."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Sequence
from threading import Condition, Thread
from time import monotonic
from typing import Generic, Protocol, TypeVar

from scalekit_tracing.metrics import QUEUE_FULL, REJECTED, STOPPED
from scalekit_tracing.otlp.collector_client import CollectorRejection, CollectorUnavailable

logger = logging.getLogger("scalekit.tracing")

BATCH_SIZE = 512
"""Size of the queue at which a batch is sent before the interval has passed, and about the size of a request."""
FIRST_DELAY = 1.0
MAX_DELAY = 30.0
"""Seconds until a request that failed is sent again: doubled with each failure, with jitter."""
JITTER = 0.2
MAX_BATCH_WEIGHT = 1 << 21
"""Characters of the texts of a batch, with one item more at most: collectors limit the size of requests."""
MAX_QUEUED_WEIGHT = 1 << 26
"""Characters of the texts that may wait."""
FINAL_DELAY = 0.2
"""Seconds between two attempts while the process stops."""
UNREACHED_TIMEOUT = 1.0
"""Seconds in which a server is tried at the stop when it has never taken a request, as on a developer's machine."""
JOIN_MARGIN = 1.0
"""Seconds, or else half of its time, that the thread may take to end after its time."""


class Exported(Protocol):
    """What is exported: a trace of *size* spans, or an error."""

    @property
    def size(self) -> int:
        """How much it counts in a batch and in the queue."""
        ...

    @property
    def weight(self) -> int:
        """The characters of its texts, about."""
        ...


Item = TypeVar("Item", bound=Exported)
ItemIn = TypeVar("ItemIn", bound=Exported, contravariant=True)


class ExportSink(Protocol[ItemIn]):
    """Takes batches of items, in the thread of the exporter; *what* names them in the log, *target* is the URL."""

    what: str
    target: str

    def send(self, batch: Sequence[ItemIn]) -> int:
        """Send *batch*; return how much of its size was rejected.

        Raises CollectorUnavailable when it is to be sent again, and CollectorRejection when not.
        """
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


class ExportMetrics(Protocol):
    """Counts what was exported and lost."""

    def count_exported(self, size: int, /) -> None:
        """Count what the server accepted."""
        ...

    def count_lost(self, reason: str, size: int, /) -> None:
        """Count what was lost."""
        ...

    def count_failure(self) -> None:
        """Count a failed request."""
        ...


class Exporter(Generic[Item]):
    """Sends items to *sink*, at most *interval* seconds after they are added; a size of *max_size* may wait."""

    def __init__(self, sink: ExportSink[Item], metrics: ExportMetrics, interval: float, max_size: int) -> None:
        self.error = ""
        self._was_reached = False
        self._what = sink.what
        self._sink = sink
        self._metrics = metrics
        self._interval = interval
        self._max_size = max_size
        self._items: deque[Item] = deque()
        self._queued = self._weight = 0
        self._changed = Condition()
        self._stop_at: float | None = None
        self._thread = Thread(target=self._run, name=f"scalekit: {sink.what} exporter", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, item: Item) -> None:
        """Queue *item*, or count it as lost when the queue is full."""
        size = item.size
        with self._changed:
            if self._queued + size > self._max_size or self._weight > MAX_QUEUED_WEIGHT:
                self._metrics.count_lost(QUEUE_FULL, size)
                return
            self._items.append(item)
            before = self._queued
            self._queued += size
            self._weight += item.weight
            if before < BATCH_SIZE <= self._queued:
                self._changed.notify()

    def finish(self, timeout: float) -> None:
        """Begin to send what is queued, for at most *timeout* seconds; :meth:`stop` waits for it."""
        with self._changed:
            if self._stop_at is None:
                is_unreached = self.error and not self._was_reached
                self._stop_at = monotonic() + (min(timeout, UNREACHED_TIMEOUT) if is_unreached else timeout)
            self._changed.notify()

    def stop(self, timeout: float) -> None:
        """Send what is queued, for at most *timeout* seconds and a half, and end the thread; count the rest as lost."""
        self.finish(timeout)
        self._thread.join(timeout + min(JOIN_MARGIN, timeout / 2))
        with self._changed:
            left, self._queued, self._weight = self._queued, 0, 0
            self._items.clear()
        if left:
            self._metrics.count_lost(STOPPED, left)
            reason = self.error or f"{self._sink.target} did not take all of them in time; raise server.stop_timeout"
            logger.error("%s: %d were not sent before the process stopped: %s", self._what, left, reason)

    def _run(self) -> None:
        delay = 0.0
        while self._wait(delay):
            delay = self._export_batch(delay)
        self._sink.close()

    def _wait(self, delay: float) -> bool:
        """Wait for a batch, or for *delay* after a failure; return False when the thread is to end."""
        with self._changed:
            if self._stop_at is None:
                self._changed.wait_for(lambda: self._is_due(delay), delay or self._interval)
            elif delay:
                self._changed.wait(min(delay, FINAL_DELAY))
            return self._stop_at is None or (bool(self._items) and monotonic() < self._stop_at)

    def _is_due(self, delay: float) -> bool:
        return self._stop_at is not None or (not delay and self._queued >= BATCH_SIZE)

    def _export_batch(self, delay: float) -> float:
        """Send a batch; return 0, or the seconds until it is sent again, given the last *delay*."""
        batch = self._next_batch()
        size = sum(item.size for item in batch)
        if not batch:
            return 0.0
        try:
            rejected = self._sink.send(batch)
        except CollectorUnavailable as error:
            self._fail(str(error))
            next_delay = error.retry_after or min(max(2 * delay, FIRST_DELAY), MAX_DELAY)
            return next_delay * random.uniform(1 - JITTER, 1 + JITTER)
        except Exception as error:  # an attribute that cannot be encoded must not end the thread
            self._fail(str(error) if isinstance(error, CollectorRejection) else f"{type(error).__name__}: {error}")
            rejected = size
        else:
            self.error = ""
            self._was_reached = True
        self._remove(batch, size)
        self._metrics.count_exported(size - rejected)
        if rejected:
            self._metrics.count_lost(REJECTED, rejected)
        return 0.0

    def _next_batch(self) -> list[Item]:
        """Return the oldest items with a size of about BATCH_SIZE; they stay in the queue until they are sent."""
        batch: list[Item] = []
        size = weight = 0
        with self._changed:
            for item in self._items:
                if size >= BATCH_SIZE or weight >= MAX_BATCH_WEIGHT:
                    break
                batch.append(item)
                size += item.size
                weight += item.weight
        return batch

    def _remove(self, batch: Sequence[Item], size: int) -> None:
        with self._changed:
            if self._queued:  # else the process has stopped waiting
                self._queued -= size
                for item in batch:
                    self._weight -= item.weight
                    self._items.popleft()

    def _fail(self, error: str) -> None:
        """Count a failed request, and log the first of several."""
        self._metrics.count_failure()
        if not self.error:
            logger.warning("%s cannot be sent: %s", self._what, error)
        self.error = error
