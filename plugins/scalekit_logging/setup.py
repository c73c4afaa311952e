"""Configure structlog and the standard library to log to a pipeline.

structlog's configuration and the standard library's root logger belong to the process, not to an application: of
several pipelines the one installed last receives all events; removing the last one restores the previous configuration.
Handlers that write to standard output or standard error are removed meanwhile; all others stay.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import ExitStack
from logging.handlers import QueueHandler
from threading import Lock
from typing import Any

from scalekit_logging.levels import CRITICAL, NUMBERS
from scalekit_logging.pipeline import LogPipeline
from scalekit_logging.stdlib_bridge import PipelineHandler, format_event, log_event
from scalekit_logging.structlog_import import structlog

_pipelines: list[LogPipeline] = []
_undo = ExitStack()
_undo_levels = ExitStack()
_lock = Lock()


class BoundLogger(structlog.BoundLoggerBase):
    """structlog's filtering logger, with a level that can change.

    structlog caches a logger at its first use, but the next application may configure another level. So all loggers
    share this class, and its methods are replaced by those of structlog's class for the current level.
    """


class NamedLogger:
    """The wrapped logger of structlog: only a name, since the processors write the event."""

    __slots__ = ("name",)

    def __init__(self, *names: str) -> None:
        self.name = names[0] if names else _calling_module()

    def ignore(self) -> None:
        """Ignore the event: ``_forward`` has logged it."""

    debug = info = warning = error = critical = notset = ignore


def install(pipeline: LogPipeline) -> None:
    """Make *pipeline* the destination of all events."""
    with _lock:
        _pipelines.append(pipeline)
        _apply()


def remove(pipeline: LogPipeline) -> None:
    """Remove *pipeline*: events go to the one installed before it, or as configured before the first."""
    with _lock:
        _pipelines.remove(pipeline)
        _apply()


class PipelineLevels:
    """The levels of *pipeline*, and of the loggers while it receives the events."""

    def __init__(self, pipeline: LogPipeline) -> None:
        self._pipeline = pipeline
        config = pipeline.config
        self.configured = {name: level.lower() for name, level in {"": config.level, **config.levels}.items()}

    def override(self, levels: Mapping[str, str]) -> None:
        """Use *levels* instead of configured ones."""
        self._pipeline.override_levels(levels)
        with _lock:
            if _pipelines[-1:] == [self._pipeline]:
                _apply_levels(self._pipeline)


def _apply() -> None:
    _undo_levels.close()
    _undo.close()
    if _pipelines:
        pipeline = _pipelines[-1]
        _configure_root(pipeline)
        _redirect_other_loggers(pipeline)
        _configure_structlog(pipeline)
        _apply_levels(pipeline)


def _apply_levels(pipeline: LogPipeline) -> None:
    """Set the levels of the loggers, so that they make no events that *pipeline* drops."""
    _undo_levels.close()
    _set_level(logging.getLogger(), pipeline.thresholds.default.buffer)
    for name, number in pipeline.thresholds.by_logger.items():
        _set_level(logging.getLogger(name), number)
    _undo_levels.callback(_filter_below, 0)
    _filter_below(pipeline.thresholds.lowest)


def _configure_root(pipeline: LogPipeline) -> None:
    root = logging.getLogger()
    _remove_console_handlers(root)
    handler = PipelineHandler(pipeline)
    root.addHandler(handler)
    _undo.callback(root.removeHandler, handler)


def _redirect_other_loggers(pipeline: LogPipeline) -> None:
    """Make loggers with console handlers of their own, such as uvicorn's and Litestar's, propagate instead."""
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and _remove_console_handlers(logger):
            _undo.callback(setattr, logger, "propagate", logger.propagate)
            logger.propagate = True
    if pipeline.config.access:
        access = logging.getLogger("uvicorn.access")
        _undo.callback(access.setLevel, access.level)
        access.setLevel(CRITICAL + 1)


def _remove_console_handlers(logger: logging.Logger) -> bool:
    """Remove the console handlers of *logger*; return whether there were any."""
    handlers = [handler for handler in logger.handlers if _is_console_handler(handler)]
    for handler in handlers:
        logger.removeHandler(handler)
        _undo.callback(logger.addHandler, handler)
    return bool(handlers)


def _is_console_handler(handler: logging.Handler) -> bool:
    if isinstance(handler, QueueHandler):
        listener = getattr(handler, "listener", None)
        return listener is not None and all(map(_is_console_handler, listener.handlers))
    return type(handler) is logging.StreamHandler and _is_standard_stream(handler.stream)


def _is_standard_stream(stream: Any) -> bool:
    if stream in (sys.stdout, sys.stderr):
        return True
    try:
        return stream.fileno() in (1, 2)  # sys.stdout or sys.stderr has been replaced since
    except (AttributeError, OSError, ValueError):
        return False


def _set_level(logger: logging.Logger, number: int) -> None:
    _undo_levels.callback(logger.setLevel, logger.level)
    logger.setLevel(number)


def _configure_structlog(pipeline: LogPipeline) -> None:
    before: dict[str, Any] = structlog.get_config()
    restore: Callable[..., None] = structlog.configure if structlog.is_configured() else _reset
    _undo.callback(restore, **before)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _forward],
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


def _forward(logger: Any, method: str, fields: MutableMapping[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
    """Log the event, as structlog's last processor: to the pipeline, or to the standard library when there is none."""
    name = logger.name if isinstance(logger, NamedLogger) else ""
    if _pipelines:
        log_event(_pipelines[-1], name, method, fields)
    else:
        level = NUMBERS.get(method, CRITICAL)
        logging.getLogger(name).log(level, "%s", format_event(fields), exc_info=fields.get("exc_info"))
    return (), {}


def _calling_module() -> str:
    """Return the name of the module that created the logger."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_logging_module(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", ""))


def _is_logging_module(module: str) -> bool:
    return module == __name__ or module.partition(".")[0] == "structlog"
