"""Configure structlog and the standard library to log to a pipeline.

structlog's configuration and the standard library's root logger belong to the process, not to an application. So of
several journals the one that was installed last is used, and when the last one goes everything is as it was. The
handlers that print on standard output or error are set aside meanwhile; others stay.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from contextlib import ExitStack
from logging.handlers import QueueHandler
from threading import Lock
from typing import Any

from scalekit_logging.levels import CRITICAL, NUMBERS
from scalekit_logging.pipeline import LogPipeline
from scalekit_logging.stdlib_bridge import PipelineHandler, log_event, text_of
from scalekit_logging.structlog_import import structlog

_pipelines: list[LogPipeline] = []
_undo = ExitStack()
_lock = Lock()


class BoundLogger(structlog.BoundLoggerBase):
    """structlog's filtering logger.

    Loggers are cached where they are first used, for good, while the level may change with the next application. So
    there is this one class, and its methods are always those of structlog's own class for the level in force.
    """


class NamedLogger:
    """What structlog calls a logger: here no more than a name, since the processors do everything."""

    __slots__ = ("name",)

    def __init__(self, *names: str) -> None:
        self.name = names[0] if names else _caller()

    def nothing(self) -> None:
        """Do nothing."""

    debug = info = warning = error = critical = notset = nothing


def install(pipeline: LogPipeline) -> None:
    """Log to *pipeline* from now on."""
    with _lock:
        _pipelines.append(pipeline)
        _apply()


def remove(pipeline: LogPipeline) -> None:
    """Log to *pipeline* no longer, but to the one installed before it, or as the process did before any."""
    with _lock:
        _pipelines.remove(pipeline)
        _apply()


def _apply() -> None:
    _undo.close()
    if _pipelines:
        pipeline = _pipelines[-1]
        _take_over_root(pipeline)
        _take_over_others(pipeline)
        for name, number in pipeline.thresholds.named.items():
            _set_level(logging.getLogger(name), number)
        _configure_structlog(pipeline)


def _take_over_root(pipeline: LogPipeline) -> None:
    root = logging.getLogger()
    _set_aside_printers(root)
    handler = PipelineHandler(pipeline)
    root.addHandler(handler)
    _undo.callback(root.removeHandler, handler)
    _set_level(root, pipeline.thresholds.rest.kept)


def _take_over_others(pipeline: LogPipeline) -> None:
    """Let loggers that print by themselves, such as uvicorn's and Litestar's, pass their records on instead."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and _set_aside_printers(logger):
            _undo.callback(setattr, logger, "propagate", logger.propagate)
            logger.propagate = True
    if pipeline.config.access:
        _set_level(logging.getLogger("uvicorn.access"), CRITICAL + 1)


def _set_aside_printers(logger: logging.Logger) -> bool:
    """Take away the handlers that print; tell whether there were any."""
    printers = [handler for handler in logger.handlers if _prints(handler)]
    for handler in printers:
        logger.removeHandler(handler)
        _undo.callback(logger.addHandler, handler)
    return bool(printers)


def _prints(handler: logging.Handler) -> bool:
    if isinstance(handler, QueueHandler):
        listener = getattr(handler, "listener", None)
        return listener is not None and all(map(_prints, listener.handlers))
    return type(handler) is logging.StreamHandler and _is_standard(handler.stream)


def _is_standard(stream: Any) -> bool:
    if stream in (sys.stdout, sys.stderr):
        return True
    try:
        return stream.fileno() in (1, 2)  # as it was before somebody replaced it
    except (AttributeError, OSError, ValueError):
        return False


def _set_level(logger: logging.Logger, number: int) -> None:
    _undo.callback(logger.setLevel, logger.level)
    logger.setLevel(number)


def _configure_structlog(pipeline: LogPipeline) -> None:
    before: dict[str, Any] = structlog.get_config()
    restore: Callable[..., None] = structlog.configure if structlog.is_configured() else _reset
    _undo.callback(restore, **before)
    _undo.callback(_filter_below, 0)
    _filter_below(pipeline.thresholds.lowest)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _hand_on],
        wrapper_class=BoundLogger,
        context_class=dict,
        logger_factory=NamedLogger,
        cache_logger_on_first_use=True,
    )


def _reset(**_: Any) -> None:
    structlog.reset_defaults()


def _filter_below(number: int) -> None:
    for name, value in vars(structlog.make_filtering_bound_logger(number)).items():
        if not name.startswith("__"):
            setattr(BoundLogger, name, value)


def _hand_on(logger: Any, method: str, fields: MutableMapping[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
    """Stand last among structlog's processors; a logger that outlives the journals goes to the standard library's."""
    name = logger.name if isinstance(logger, NamedLogger) else ""
    if _pipelines:
        log_event(_pipelines[-1], name, method, fields)
    else:
        level = NUMBERS.get(method, CRITICAL)
        logging.getLogger(name).log(level, "%s", text_of(fields), exc_info=fields.get("exc_info"))
    return (), {}


def _caller() -> str:
    """Return the name of the module that logs."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))


def _is_ours(module: str) -> bool:
    return module == __name__ or module.partition(".")[0] == "structlog"
