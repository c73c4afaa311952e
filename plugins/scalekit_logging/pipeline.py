"""Log pipeline of one application: filter events by level, format them, and hand them to the background writer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scalekit import TRACE_CONTEXT, StartError, TraceContext
from scalekit_logging import tail_sampling
from scalekit_logging.access_log import LOGGER, AccessLogFormatter, AccessRecord
from scalekit_logging.background_writer import BackgroundWriter, LineCounter
from scalekit_logging.config import LoggingConfig
from scalekit_logging.console_formatter import LineFormat, format_coloured, format_json, pretty
from scalekit_logging.json_formatter import JsonFormatter
from scalekit_logging.levels import DEBUG, ERROR, INFO, LevelThresholds
from scalekit_logging.redaction import Redactor
from scalekit_logging.rotating_file import RotatingFile
from scalekit_logging.sinks import MonitoredSink
from scalekit_logging.stream_sink import StreamSink
from scalekit_logging.tail_sampling import TailBuffer, TailSampler

STANDARD_ERROR = 2
STOP_LIMIT = 1.0
"""Seconds for flushing the buffer when the application stops."""
NEVER = 1000
"""A status above that of any response."""


class LogPipeline:
    """Accepts events from all loggers; writes them between start and stop."""

    def __init__(self, config: LoggingConfig, redact: Callable[[str], str]) -> None:
        fields = {"service": config.service} if config.service else {}
        self.config = config
        self.lines = JsonFormatter({**fields, **config.fields}, Redactor(config.redact, redact))
        self.thresholds = LevelThresholds(config.level, config.levels, config.tail is not None)
        self.least_status = self._least_status()
        self.tails = (
            TailSampler(config.tail.lines, config.tail.memory, float(config.tail.slow_threshold))
            if config.tail
            else None
        )
        self.draining = False
        self.write: Callable[[bytes], None] = _nowhere
        self.write_access: Callable[[AccessRecord], None] = _nowhere
        self._writer: BackgroundWriter | None = None

    def start(self, tally: LineCounter) -> None:
        """Open the sinks and start the writer; raises StartError when a file cannot be opened."""
        self.draining = False
        writer = BackgroundWriter(self._sinks(), self.config.buffer_size, AccessLogFormatter(self.lines).shaped, tally)
        try:
            writer.start()
        except OSError as error:
            writer.close()
            raise StartError(_unwritable(self.config, error)) from None
        self._writer = writer
        self.write, self.write_access = writer.add, writer.add_access

    def stop(self) -> None:
        """Flush the buffer, for at most STOP_LIMIT seconds."""
        self.write = self.write_access = _nowhere
        if self._writer is not None:
            self._writer.stop(STOP_LIMIT)
            self._writer = None

    def error(self) -> str:
        """Return why lines are being lost; empty when none are."""
        return self._writer.error() if self._writer is not None else ""

    def log(self, number: int, logger: str, event: object, fields: Mapping[Any, Any]) -> None:
        """Write, buffer or drop an event of *logger* at level *number*."""
        threshold = self.thresholds.of(logger)
        if number >= threshold.written:
            self.write(self.lines.line(number, logger, event, fields, TRACE_CONTEXT.get()))
        elif number >= threshold.kept:
            kept = tail_sampling.CURRENT.get()
            if kept is not None:
                kept.keep(self.lines.line(number, logger, event, fields, TRACE_CONTEXT.get()))

    def failure(self, event: str, fields: Mapping[str, Any], identity: TraceContext) -> None:
        """Write that a request ended with an exception."""
        if self._writes(LOGGER, ERROR):
            self.write(self.lines.line(ERROR, LOGGER, event, fields, identity))

    def ending(self, event: str, fields: Mapping[str, Any], identity: TraceContext, status: int) -> None:
        """Write how a websocket ended."""
        self.write(self.lines.line(INFO if status < 500 else ERROR, LOGGER, event, fields, identity))

    def reveal(self, kept: TailBuffer, identity: TraceContext) -> None:
        """Write the buffered lines of a request."""
        lines, forgotten = kept.close()
        if forgotten:
            event = f"{forgotten} earlier lines of this request were dropped"
            self.write(self.lines.line(DEBUG, LOGGER, event, {"dropped_lines": forgotten}, identity))
        for line in lines:
            self.write(line)

    def _writes(self, logger: str, number: int) -> bool:
        return number >= self.thresholds.of(logger).written

    def _least_status(self) -> int:
        """Return the lowest status of successful requests that is written."""
        if not self.config.access:
            return NEVER
        return 0 if self._writes(LOGGER, INFO) else 500 if self._writes(LOGGER, ERROR) else NEVER

    def _sinks(self) -> list[MonitoredSink]:
        config = self.config
        sinks: list[MonitoredSink] = []
        if config.console != "off":
            stream = StreamSink("console", STANDARD_ERROR, _shape(config.console), config.buffer_size)
            sinks.append(MonitoredSink(stream, self.lines))
        if config.directory is not None:
            for name, errors_only in (("combined.log", False), ("error.log", True)):
                file = RotatingFile(config.directory, name, config.max_size, config.backup_count)
                sinks.append(MonitoredSink(file, self.lines, errors_only))
        return sinks


def _shape(console: str) -> LineFormat:
    terminal = os.isatty(STANDARD_ERROR)
    if console == "json" or (console == "auto" and not terminal):
        return format_json
    return format_coloured if terminal and not os.environ.get("NO_COLOR") else pretty


def _nowhere(line: object) -> None:
    """Drop a line logged before start or after stop."""


def verify_directory(config: LoggingConfig) -> None:
    """Raise StartError when the directory of the log files is not writable."""
    if config.directory is None:
        return
    folder = Path(config.directory).absolute()
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise StartError(_unwritable(config, OSError(f"{folder} is not a directory")))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(_unwritable(config, OSError(f"{folder} is not writable by this user")))


def _unwritable(config: LoggingConfig, error: OSError) -> str:
    remedy = "create it, or let this user write there"
    return f"logging.directory: cannot write to {config.directory!r}: {error}; {remedy}"
