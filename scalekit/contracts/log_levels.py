"""Contract of the levels of the log, which an operator overrides for a limited time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from scalekit.context import Key


class LogLevels(Protocol):
    """The levels of the log of this process: ``debug``, ``info``, ``warning``, ``error`` or ``critical``."""

    @property
    def configured(self) -> Mapping[str, str]:
        """The levels of the file by logger; that of all other loggers under an empty name."""
        ...

    def override(self, levels: Mapping[str, str]) -> None:
        """Use *levels*, by logger as in ``configured``, instead of configured ones; empty restores those."""
        ...


class LogLevelOverrides(Protocol):
    """The overrides of ``scalekit log-level``, the same in all workers."""

    def applied_to(self, levels: LogLevels) -> AbstractContextManager[None]:
        """Override *levels* inside the block: now, at each change and when an override ends; on the event loop."""
        ...


LOG_LEVEL_OVERRIDES: Key[LogLevelOverrides] = Key("log level overrides")
"""Overrides of log levels; the host provides them before plugins start."""
