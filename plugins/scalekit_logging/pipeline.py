"""Log pipeline of one application: filter events by level, format them, and hand them to the background writer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scalekit import TRACE_CONTEXT, Redactor, StartError, TraceContext
from scalekit_logging import tail_sampling
from scalekit_logging.access_log import LOGGER, AccessLogFormatter, AccessRecord
from scalekit_logging.background_writer import BackgroundWriter, LineCounter
from scalekit_logging.config import LoggingConfig
from scalekit_logging.console_formatter import LineFormat, format_coloured, format_json, format_plain
from scalekit_logging.json_formatter import JsonFormatter
from scalekit_logging.latest_lines import LatestLines
from scalekit_logging.levels import DEBUG, ERROR, INFO, LevelThresholds
from scalekit_logging.rotating_file import RotatingFile
from scalekit_logging.sinks import MonitoredSink
from scalekit_logging.stream_sink import StreamSink
from scalekit_logging.tail_sampling import TailBuffer, TailSampler

STANDARD_ERROR = 2
FLUSH_TIMEOUT = 1.0
"""Seconds for flushing the buffer when the application stops."""
ABOVE_ALL_STATUSES = 1000


class LogPipeline:
    """Accepts events from all loggers; writes them between start and stop."""

    def __init__(self, config: LoggingConfig, redact: Callable[[str], str]) -> None:
        fields = {"service": config.service} if config.service else {}
        self.config = config
        self.formatter = JsonFormatter({**fields, **config.fields}, Redactor(config.redact, redact))
        self.override_levels({})
        self.tail_sampler = (
            TailSampler(config.tail.lines, config.tail.memory, float(config.tail.slow_threshold))
            if config.tail
            else None
        )
        self.draining = False
        self.latest_lines: LatestLines | None = None
        self.write: Callable[[bytes], None] = _discard
        self.write_access: Callable[[AccessRecord], None] = _discard
        self._writer: BackgroundWriter | None = None

    def override_levels(self, levels: Mapping[str, str]) -> None:
        """Use *levels*, names by logger and that of all others under an empty one, instead of configured ones."""
        others = {name: level for name, level in levels.items() if name}
        default = levels.get("", self.config.level)
        self.thresholds = LevelThresholds(default, {**self.config.levels, **others}, self.config.tail is not None)
        self.min_status = self._min_status()

    def start(self, counter: LineCounter) -> None:
        """Open the sinks and start the writer; raises StartError when a file cannot be opened."""
        self.draining = False
        format_entries = AccessLogFormatter(self.formatter).format
        writer = BackgroundWriter(self._sinks(), self.config.buffer_size, format_entries, counter)
        try:
            writer.start()
        except OSError as error:
            writer.close()
            raise StartError(_write_error(self.config, error)) from None
        self._writer = writer
        self.write, self.write_access = writer.add, writer.add_access

    def stop(self) -> None:
        """Flush the buffer, for at most FLUSH_TIMEOUT seconds."""
        self.write = self.write_access = _discard
        if self._writer is not None:
            self._writer.stop(FLUSH_TIMEOUT)
            self._writer = None

    def error(self) -> str:
        """Return why lines are being lost; empty when none are."""
        return self._writer.error() if self._writer is not None else ""

    def log(self, level: int, logger: str, event: object, fields: Mapping[Any, Any]) -> None:
        """Write, buffer or drop an event of *logger* at *level*."""
        threshold = self.thresholds.of(logger)
        if level >= threshold.write:
            self.write(self.formatter.format(level, logger, event, fields, TRACE_CONTEXT.get()))
        elif level >= threshold.buffer:
            tail = tail_sampling.CURRENT.get()
            if tail is not None:
                tail.append(self.formatter.format(level, logger, event, fields, TRACE_CONTEXT.get()))

    def log_failure(self, event: str, fields: Mapping[str, object], trace: TraceContext) -> None:
        """Write the access line of a request that ended with an exception."""
        if self._is_enabled(LOGGER, ERROR):
            self.write(self.formatter.format(ERROR, LOGGER, event, fields, trace))

    def log_end(self, event: str, fields: Mapping[str, object], trace: TraceContext, status: int) -> None:
        """Write the access line of a request or websocket that ended with *status*."""
        self.write(self.formatter.format(INFO if status < 500 else ERROR, LOGGER, event, fields, trace))

    def write_tail(self, tail: TailBuffer, trace: TraceContext) -> None:
        """Write the buffered lines of a request."""
        lines, dropped = tail.close()
        if dropped:
            event = f"{dropped} earlier lines of this request were dropped"
            self.write(self.formatter.format(DEBUG, LOGGER, event, {"dropped_lines": dropped}, trace))
        for line in lines:
            self.write(line)

    def _is_enabled(self, logger: str, level: int) -> bool:
        return level >= self.thresholds.of(logger).write

    def _min_status(self) -> int:
        """Return the lowest status of the requests without an exception that have an access line."""
        if not self.config.access:
            return ABOVE_ALL_STATUSES
        return 0 if self._is_enabled(LOGGER, INFO) else 500 if self._is_enabled(LOGGER, ERROR) else ABOVE_ALL_STATUSES

    def _sinks(self) -> list[MonitoredSink]:
        config = self.config
        sinks: list[MonitoredSink] = []
        if config.console != "off":
            stream = StreamSink("console", STANDARD_ERROR, _console_format(config.console), config.buffer_size)
            sinks.append(MonitoredSink(stream, self.formatter))
        if config.directory is not None:
            for name, errors_only in (("combined.log", False), ("error.log", True)):
                file = RotatingFile(config.directory, name, config.max_size, config.backup_count)
                sinks.append(MonitoredSink(file, self.formatter, errors_only))
        if self.latest_lines is not None:
            sinks.append(MonitoredSink(self.latest_lines, self.formatter))
        return sinks


def _console_format(console: str) -> LineFormat:
    terminal = os.isatty(STANDARD_ERROR)
    if console == "json" or (console == "auto" and not terminal):
        return format_json
    return format_coloured if terminal and not os.environ.get("NO_COLOR") else format_plain


def _discard(line: object) -> None:
    """Drop a line logged before start or after stop."""


def verify_directory(config: LoggingConfig) -> None:
    """Raise StartError when the directory of the log files is not writable."""
    if config.directory is None:
        return
    folder = Path(config.directory).absolute()
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise StartError(_write_error(config, OSError(f"{folder} is not a directory")))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(_write_error(config, OSError(f"{folder} is not writable by this user")))


def _write_error(config: LoggingConfig, error: OSError) -> str:
    remedy = "create it, or make it writable for this user"
    return f"logging.directory: cannot write to {config.directory!r}: {error}; {remedy}"
