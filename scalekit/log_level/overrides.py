"""The overrides of log levels in this process."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

from scalekit.context import Key
from scalekit.contracts.log_levels import LogLevels
from scalekit.contracts.overrides import OverrideGroup

logger = logging.getLogger("scalekit")

LEVELS = ("debug", "info", "warning", "error", "critical")
GROUP = "log level"


class LevelOverrides:
    """The overrides of *group*, by logger, and the levels that they override, None without a plugin that has any."""

    def __init__(self, group: OverrideGroup) -> None:
        self.group = group
        self.levels: LogLevels | None = None

    @contextmanager
    def applied_to(self, levels: LogLevels) -> Generator[None, None, None]:
        """Override *levels* inside the block: now, at each change and when an override ends."""
        self.levels = levels
        try:
            with self.group.applied_with(levels.override, _log_end):
                yield
        finally:
            self.levels = None


LEVEL_OVERRIDES: Key[LevelOverrides] = Key("level overrides")


def _log_end(name: str) -> None:
    logger.info("the override of the log level%s has ended", f" of {name!r}" if name else "")
