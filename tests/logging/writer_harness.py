"""A background writer for tests, and the lines that it writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scalekit import Redactor
from scalekit_logging.access_log import AccessLogFormatter
from scalekit_logging.background_writer import BackgroundWriter
from scalekit_logging.json_formatter import JsonFormatter
from scalekit_logging.levels import INFO
from scalekit_logging.sinks import MonitoredSink, Sink
from tests.logging.log_capture import Line, RecordingCounter

FORMATTER = JsonFormatter({}, Redactor())
BUFFER_SIZE = 65_536


def line(number: int, level: int = INFO, length: int = 0) -> bytes:
    return FORMATTER.format(level, "test", "event", {"number": number, "more": "x" * length}, None)


@contextmanager
def running_writer(
    *sinks: Sink, max_bytes: int = 1 << 20, errors_only: bool = False
) -> Iterator[tuple[BackgroundWriter, RecordingCounter]]:
    counter = RecordingCounter()
    monitored = [MonitoredSink(sink, FORMATTER, errors_only) for sink in sinks]
    writer = BackgroundWriter(monitored, max_bytes, AccessLogFormatter(FORMATTER).format, counter)
    writer.start()
    try:
        yield writer, counter
    finally:
        writer.stop(1.0)


def numbers(lines: list[Line]) -> list[int]:
    return [each["number"] for each in lines if each["event"] == "event"]


def losses(lines: list[Line]) -> list[tuple[int, str]]:
    return [(each["lost_lines"], each["reason"]) for each in lines if "lost_lines" in each]
