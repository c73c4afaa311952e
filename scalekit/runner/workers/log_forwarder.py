"""The supervisor's own log lines: a worker writes them, in the form and to the places that the application's have."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from scalekit.runner.workers.worker_process import WorkerProcess

logger = logging.getLogger("scalekit")


class WorkerLogHandler(logging.Handler):
    """Hand each line to the worker that *choose* returns, or to *alone* where there is none."""

    def __init__(self, choose: Callable[[], WorkerProcess | None], alone: Sequence[logging.Handler]) -> None:
        super().__init__()
        self._choose = choose
        self._alone = alone

    def emit(self, record: logging.LogRecord) -> None:
        """Hand *record* on."""
        worker = self._choose()
        if worker is None or record.exc_info:
            for handler in self._alone:
                handler.handle(record)
        else:
            worker.report(orjson.dumps([record.levelno, record.getMessage()]))


def write(content: bytes) -> None:
    """Log, in the worker, what the supervisor handed on."""
    report: list[Any] = orjson.loads(content)
    logger.log(report[0], "%s", report[1])
