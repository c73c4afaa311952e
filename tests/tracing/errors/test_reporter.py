"""Which exceptions are reported, and what is remembered of the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scalekit.telemetry import Telemetry
from scalekit_tracing.errors import reporter as module
from scalekit_tracing.errors.error_event import ErrorEvent, ErrorSource
from scalekit_tracing.errors.reporter import MAX_FINGERPRINTS, ErrorReporter
from scalekit_tracing.exporter import Exporter
from scalekit_tracing.metrics import ErrorMetrics

SOURCE = ErrorSource("GET /", "GET", "/", "request", "1" * 32, "2" * 16)


class ListSink:
    """Appends events to a list."""

    what = "errors"
    target = "http://errors/"

    def __init__(self) -> None:
        self.events: list[ErrorEvent] = []

    def send(self, batch: Sequence[ErrorEvent]) -> int:
        self.events += batch
        return 0

    def close(self) -> None:
        pass


class Reporting:
    """A reporter whose time is *now*; ``events`` are those that were reported."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rate: float = 1e9) -> None:
        self.now = 0.0
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        self._sink, metrics = ListSink(), ErrorMetrics(Telemetry(100))
        self._exporter = Exporter(self._sink, metrics, 1.0, 100_000)
        self.reporter = ErrorReporter(self._exporter, metrics, 60.0, rate)

    def report(self, error: Exception) -> None:
        self.reporter.report(error, SOURCE)

    @property
    def events(self) -> list[ErrorEvent]:
        self._exporter._export_batch(0.0)
        return self._sink.events


def test_a_repeated_exception_tells_how_many_were_suppressed(monkeypatch: pytest.MonkeyPatch) -> None:
    reporting = Reporting(monkeypatch)
    for now in (0.0, 1.0, 59.0, 60.0, 61.0, 120.0):
        reporting.now = now
        reporting.report(ValueError("equal"))
    assert [event.suppressed for event in reporting.events] == [0, 2, 1]


def test_exceptions_are_told_apart_by_type_and_line_and_not_by_message(monkeypatch: pytest.MonkeyPatch) -> None:
    reporting = Reporting(monkeypatch)
    for number in range(3):
        for kind in (ValueError, KeyError):
            reporting.report(kind(str(number)))
    assert [event.exceptions[0].message for event in reporting.events] == ["0", "'0'"]


def test_exceptions_above_the_rate_are_counted_and_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    reporting = Reporting(monkeypatch, rate=0.001)
    reporting.report(ValueError())
    reporting.report(KeyError())
    assert len(reporting.events) == 1


def test_kinds_of_exceptions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    reporting = Reporting(monkeypatch)
    kinds = [type(f"Error{number}", (Exception,), {}) for number in range(2 * MAX_FINGERPRINTS)]
    for kind in kinds:
        reporting.report(kind())
    assert len(reporting.reporter._reported) == MAX_FINGERPRINTS
