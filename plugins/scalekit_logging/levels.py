"""Log levels, and the level threshold of each logger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error", CRITICAL: "critical"}
NUMBERS = {name: number for number, name in NAMES.items()}

_MAX_CACHED_LOGGERS = 10_000


def name_of(number: int) -> str:
    """Return the name of the highest level at or below *number*; numbers below DEBUG are ``debug``."""
    return NAMES.get(number) or NAMES[max(DEBUG, min(CRITICAL, number // 10 * 10))]


class LevelThreshold(NamedTuple):
    """The minimum level that a logger writes, and the minimum level that it buffers for tail sampling."""

    write: int
    buffer: int


class LevelThresholds:
    """Thresholds of loggers: that of the nearest ancestor in *levels*, else *level*."""

    def __init__(self, level: str, levels: Mapping[str, str], tail_sampling: bool) -> None:
        number = NUMBERS[level.lower()]
        self.default = LevelThreshold(number, DEBUG if tail_sampling else number)
        self.by_logger = {name: NUMBERS[each.lower()] for name, each in levels.items()}
        self.lowest = min([self.default.buffer, *self.by_logger.values()])
        self._cache: dict[str, LevelThreshold] = {}

    def of(self, logger: str) -> LevelThreshold:
        """Return the threshold of *logger*."""
        return self._cache.get(logger) or self._resolve(logger)

    def _resolve(self, logger: str) -> LevelThreshold:
        if len(self._cache) >= _MAX_CACHED_LOGGERS:
            self._cache.clear()
        name = logger
        while name and name not in self.by_logger:
            name = name.rpartition(".")[0]
        level = self.by_logger.get(name)
        threshold = self._cache[logger] = self.default if level is None else LevelThreshold(level, level)
        return threshold
