"""Queue kept traces, and send them to the collector from a thread."""

from __future__ import annotations

import logging
import random
from collections import deque
from threading import Condition, Thread
from time import monotonic
from typing import Protocol

from scalekit.telemetry.finished_span import FinishedSpan
from scalekit_tracing.metrics import QUEUE_FULL, REJECTED, STOPPED, TracingMetrics
from scalekit_tracing.otlp.collector_client import CollectorRejection, CollectorUnavailable
from scalekit_tracing.tracer import KeptTrace

logger = logging.getLogger("scalekit.tracing")

BATCH_SIZE = 512
"""Spans after which a batch is sent before the interval has passed, and about as many as a request has."""
FIRST_DELAY = 1.0
MAX_DELAY = 30.0
"""Seconds until a request that failed is sent again: doubled with each failure, with jitter."""
JITTER = 0.2
FINAL_DELAY = 0.2
"""Seconds between two attempts while the process stops."""
JOIN_MARGIN = 1.0
"""Seconds that the thread may take to end after its time."""


class SpanSink(Protocol):
    """Takes batches of spans, in the thread of the exporter."""

    def send(self, spans: list[FinishedSpan]) -> int:
        """Send *spans*; return how many of them were rejected.

        Raises CollectorUnavailable when they are to be sent again, and CollectorRejection when not.
        """
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


class Exporter:
    """Sends kept traces to *sink*, at most *interval* seconds after their end; *max_spans* of them may wait."""

    def __init__(self, sink: SpanSink, metrics: TracingMetrics, interval: float, max_spans: int) -> None:
        self.error = ""
        self._sink = sink
        self._metrics = metrics
        self._interval = interval
        self._max_spans = max_spans
        self._traces: deque[KeptTrace] = deque()
        self._queued = 0
        self._changed = Condition()
        self._stop_at: float | None = None
        self._thread = Thread(target=self._run, name="scalekit: span exporter", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, trace: KeptTrace) -> None:
        """Queue *trace*, or count its spans as lost when the queue is full."""
        spans = len(trace.records)
        with self._changed:
            if self._queued + spans > self._max_spans:
                self._metrics.count_lost(QUEUE_FULL, spans)
                return
            self._traces.append(trace)
            before = self._queued
            self._queued += spans
            if before < BATCH_SIZE <= self._queued:
                self._changed.notify()

    def stop(self, timeout: float) -> None:
        """Send what is queued, for at most *timeout* seconds, and end the thread; count the rest as lost."""
        with self._changed:
            self._stop_at = monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + JOIN_MARGIN)
        with self._changed:
            left, self._queued = self._queued, 0
            self._traces.clear()
        if left:
            self._metrics.count_lost(STOPPED, left)
            logger.error("%d spans were not exported before the process stopped: %s", left, self.error or "no time")

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
            return self._stop_at is None or (bool(self._traces) and monotonic() < self._stop_at)

    def _is_due(self, delay: float) -> bool:
        return self._stop_at is not None or (not delay and self._queued >= BATCH_SIZE)

    def _export_batch(self, delay: float) -> float:
        """Send a batch; return 0, or the seconds until it is sent again, given the last *delay*."""
        batch = self._next_batch()
        spans = sum(len(trace.records) for trace in batch)
        if not batch:
            return 0.0
        try:
            rejected = self._sink.send([span for trace in batch for span in trace.spans()])
        except CollectorUnavailable as error:
            self._fail(str(error))
            next_delay = error.retry_after or min(max(2 * delay, FIRST_DELAY), MAX_DELAY)
            return next_delay * random.uniform(1 - JITTER, 1 + JITTER)
        except Exception as error:  # an attribute that cannot be encoded must not end the thread
            self._fail(str(error) if isinstance(error, CollectorRejection) else f"{type(error).__name__}: {error}")
            rejected = spans
        else:
            self.error = ""
        self._remove(batch, spans)
        self._metrics.count_exported(spans - rejected)
        if rejected:
            self._metrics.count_lost(REJECTED, rejected)
        return 0.0

    def _next_batch(self) -> list[KeptTrace]:
        """Return the oldest traces with about BATCH_SIZE spans; they stay in the queue until they are sent."""
        batch, spans = [], 0
        with self._changed:
            for trace in self._traces:
                if spans >= BATCH_SIZE:
                    break
                batch.append(trace)
                spans += len(trace.records)
        return batch

    def _remove(self, batch: list[KeptTrace], spans: int) -> None:
        with self._changed:
            if self._queued:  # else the process has stopped waiting
                self._queued -= spans
                for _ in batch:
                    self._traces.popleft()

    def _fail(self, error: str) -> None:
        """Count a failed request, and log the first of several."""
        self._metrics.count_failure()
        if not self.error:
            logger.warning("spans cannot be exported: %s", error)
        self.error = error
