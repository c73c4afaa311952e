"""Forward records of the standard library and events of structlog to the pipeline."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any

from scalekit import format_traceback
from scalekit_logging.levels import ERROR, NUMBERS
from scalekit_logging.pipeline import LogPipeline

SERVER_LOGGERS = ("uvicorn", "hypercorn", "_granian")
"""Loggers of ASGI servers, which log unhandled exceptions of the application a second time."""

_LOGGED = "__scalekit_logged__"
_STANDARD_ATTRIBUTES = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime"))


class PipelineHandler(logging.Handler):
    """Forwards records of the standard library to *pipeline*."""

    def __init__(self, pipeline: LogPipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def handle(self, record: logging.LogRecord) -> bool:
        """Forward *record* if it passes the filters, without the handler's lock: the pipeline is thread-safe."""
        passed: bool | logging.LogRecord = self.filter(record)  # since Python 3.12, a filter may return another record
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Forward *record*, unless a server repeats the exception of an access line."""
        if record.exc_info and record.name.startswith(SERVER_LOGGERS) and is_logged(record.exc_info[1]):
            return
        fields: dict[str, object] = {}
        if not _STANDARD_ATTRIBUTES.issuperset(vars(record)):
            fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES}
        if record.exc_info:
            fields["exception"] = format_exception(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        self.pipeline.log(record.levelno, record.name, _message_of(record), fields)


def log_event(pipeline: LogPipeline, logger: str, method: str, fields: MutableMapping[str, Any]) -> None:
    """Forward an event that was logged with structlog's method *method*."""
    number = NUMBERS.get(method, ERROR)
    if number < pipeline.thresholds.of(logger).buffer:
        return
    event = fields.pop("event", "")
    exception = fields.pop("exc_info", None)
    if exception:
        fields["exception"] = format_exception(exception)
    if fields.pop("stack_info", None):
        fields["stack"] = "".join(traceback.format_stack())
    pipeline.log(number, logger, event, fields)


def format_event(fields: Mapping[str, object]) -> str:
    """Return structlog's *fields* as one text, for handlers without structured fields."""
    pairs = [f"{name}={value!r}" for name, value in fields.items() if name not in ("event", "exc_info", "stack_info")]
    return " ".join([str(fields.get("event", "")), *pairs])


def format_exception(exc_info: object) -> str:
    """Return the traceback of *exc_info*: an exception, a ``sys.exc_info()`` tuple, or True for the current one."""
    error = exc_info
    if isinstance(exc_info, tuple):
        error = exc_info[1] if len(exc_info) == 3 else None
    elif not isinstance(exc_info, BaseException):
        error = sys.exc_info()[1]
    if not isinstance(error, BaseException):
        return ""
    try:
        return format_traceback(error).rstrip("\n")
    except Exception:
        return f"<unprintable {type(error).__name__} object>"


def mark_logged(error: BaseException) -> None:
    """Mark *error* as logged, in an attribute."""
    try:
        setattr(error, _LOGGED, True)
    except Exception:  # without attributes, it is logged twice
        return


def is_logged(error: BaseException | None) -> bool:
    """Return whether *error* was logged in an access line."""
    return getattr(error, _LOGGED, False) is True


def _message_of(record: logging.LogRecord) -> object:
    try:
        return record.getMessage()
    except Exception:  # the arguments do not match the format, or cannot be printed
        return record.msg
