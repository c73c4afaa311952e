"""Forward the supervisor's log records to a worker, which logs them with the format and sinks of the application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from scalekit.runner.workers.worker_process import WorkerProcess

logger = logging.getLogger("scalekit")


class WorkerLogHandler(logging.Handler):
    """Sends each record to the worker that *choose_worker* returns; without one, to the handlers of *fallback*."""

    def __init__(self, choose_worker: Callable[[], WorkerProcess | None], fallback: Sequence[logging.Handler]) -> None:
        super().__init__()
        self._choose_worker = choose_worker
        self._fallback = fallback

    def emit(self, record: logging.LogRecord) -> None:
        """Send *record* to a worker; records with an exception go to the fallback."""
        worker = self._choose_worker()
        if worker is None or record.exc_info:
            for handler in self._fallback:
                handler.handle(record)
        else:
            worker.log(orjson.dumps([record.levelno, record.getMessage()]))


def log_forwarded(content: bytes) -> None:
    """Log, in the worker, a record that the supervisor forwarded."""
    report: list[Any] = orjson.loads(content)
    logger.log(report[0], "%s", report[1])
