"""Pass records of the standard library and events of structlog to the pipeline."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any

from scalekit_logging.levels import ERROR, NUMBERS
from scalekit_logging.pipeline import LogPipeline

SERVERS = ("uvicorn", "hypercorn", "_granian")
"""Loggers of servers, which report an exception that comes out of the application."""

_SHOWN = "__scalekit_logging_shown__"
_STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime"))


class PipelineHandler(logging.Handler):
    """Hands the standard library's records to *pipeline*."""

    def __init__(self, pipeline: LogPipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def handle(self, record: logging.LogRecord) -> bool:
        """Hand on *record* if the filters let it pass, without the lock: the pipeline needs none."""
        passed: bool | logging.LogRecord = self.filter(record)  # a filter may put another record in its place
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on *record*, unless it repeats what the line of its request has shown."""
        if record.exc_info and record.name.startswith(SERVERS) and is_logged(record.exc_info[1]):
            return
        fields: dict[str, Any] = {}
        if not _STANDARD.issuperset(vars(record)):
            fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = exception_text(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        self.pipeline.log(record.levelno, record.name, _message(record), fields)


def log_event(pipeline: LogPipeline, logger: str, method: str, fields: MutableMapping[str, Any]) -> None:
    """Hand on what structlog's method of this name was called with."""
    number = NUMBERS.get(method, ERROR)
    if number < pipeline.thresholds.of(logger).kept:
        return
    event = fields.pop("event", "")
    exception = fields.pop("exc_info", None)
    if exception:
        fields["exception"] = exception_text(exception)
    if fields.pop("stack_info", None):
        fields["stack"] = "".join(traceback.format_stack())
    pipeline.log(number, logger, event, fields)


def text_of(fields: Mapping[str, Any]) -> str:
    """Return structlog's *fields* as one text, for loggers that know no fields."""
    pairs = [f"{name}={value!r}" for name, value in fields.items() if name not in ("event", "exc_info", "stack_info")]
    return " ".join([str(fields.get("event", "")), *pairs])


def exception_text(given: object) -> str:
    """Return the traceback of *given*: an exception, what ``sys.exc_info()`` returns, or True for the current one."""
    error: Any = given
    if isinstance(given, tuple):
        error = given[1] if len(given) == 3 else None
    elif not isinstance(given, BaseException):
        error = sys.exc_info()[1]
    if not isinstance(error, BaseException):
        return ""
    try:
        return "".join(traceback.format_exception(error)).rstrip("\n")
    except Exception:
        return f"{type(error).__name__}, whose traceback cannot be shown"


def mark_logged(error: BaseException) -> None:
    """Remember, in *error* itself, that it was logged."""
    try:
        setattr(error, _SHOWN, True)
    except Exception:  # an exception that takes no attributes is logged twice
        return


def is_logged(error: BaseException | None) -> bool:
    """Tell whether *error* was logged by the line of its request."""
    return getattr(error, _SHOWN, False) is True


def _message(record: logging.LogRecord) -> object:
    try:
        return record.getMessage()
    except Exception:  # arguments that do not fit, or that cannot be shown
        return record.msg
