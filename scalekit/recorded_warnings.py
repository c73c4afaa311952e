"""Record the warnings about the configuration that this process logs, for the console.

While the application is built, every warning is about the file; later, those of the host are, while those of plugins
tell what happens to their servers.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

LOGGER = logging.getLogger("scalekit")
MAX_WARNINGS = 50
"""Warnings that are kept, the first ones; equal texts are one."""
MAX_TEXT = 2_000


class RecordedWarnings(logging.Handler):
    """Keeps the texts of warnings, with the number of times that each was logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counts: dict[str, int] = {}
        self._building = False

    @contextmanager
    def building(self) -> Generator[None, None, None]:
        """Record the warnings of the host and of all plugins inside the block."""
        self._building = True
        try:
            with self.recording():
                yield
        finally:
            self._building = False

    @contextmanager
    def recording(self) -> Generator[None, None, None]:
        """Record the warnings of the host inside the block."""
        LOGGER.addHandler(self)
        try:
            yield
        finally:
            LOGGER.removeHandler(self)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Record as :meth:`recording` does, as a lifespan."""
        with self.recording():
            yield

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning; errors are failures, not mistakes of the file."""
        if logging.lastResort is not None and self._is_the_only_one(logging.getLogger(record.name)):
            logging.lastResort.handle(record)
        if record.levelno != logging.WARNING or not (self._building or record.name == LOGGER.name):
            return
        try:
            text = record.getMessage()[:MAX_TEXT]
        except Exception:
            self.handleError(record)
            return
        if text in self.counts or len(self.counts) < MAX_WARNINGS:
            self.counts[text] = self.counts.get(text, 0) + 1

    def _is_the_only_one(self, logger: logging.Logger | None) -> bool:
        """Return whether *logger* has no handler that shows records, for which logging would have its last resort."""
        handlers: list[logging.Handler] = []
        while logger is not None:
            handlers += logger.handlers
            logger = logger.parent if logger.propagate else None
        return handlers[0] is self and all(isinstance(each, RecordedWarnings) for each in handlers)
