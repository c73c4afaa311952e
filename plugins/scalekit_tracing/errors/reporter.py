"""Report each kind of exception once in a while, and count the others."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic

from scalekit_tracing.errors.error_event import ErrorEvent, ErrorSource, error_event, fingerprint
from scalekit_tracing.exporter import Exporter
from scalekit_tracing.metrics import ErrorMetrics
from scalekit_tracing.token_bucket import TokenBucket

MAX_FINGERPRINTS = 1000
"""Kinds of exceptions that are told apart; the one that was reported the longest ago is forgotten."""


class ErrorReporter:
    """Passes exceptions to *exporter*: equal ones every *repeat_interval* seconds, and *rate* per second at most."""

    def __init__(
        self, exporter: Exporter[ErrorEvent], metrics: ErrorMetrics, repeat_interval: float, rate: float
    ) -> None:
        self._exporter = exporter
        self._metrics = metrics
        self._repeat_interval = repeat_interval
        self._bucket = TokenBucket(rate)
        self._reported: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def report(self, error: BaseException, source: ErrorSource) -> None:
        """Report *error* of *source*, unless an equal one was reported lately or there are too many."""
        key = fingerprint(error)
        now = monotonic()
        last, suppressed = self._reported.get(key, (None, 0))
        if (last is not None and now - last < self._repeat_interval) or not self._bucket.take():
            self._reported[key] = (now - self._repeat_interval if last is None else last, suppressed + 1)
            self._bound()
            self._metrics.count_suppressed()
            return
        self._reported[key] = (now, 0)
        self._reported.move_to_end(key)
        self._bound()
        self._exporter.add(error_event(error, source, suppressed))

    def _bound(self) -> None:
        if len(self._reported) > MAX_FINGERPRINTS:
            self._reported.popitem(last=False)
