"""Which levels there are, and which of them a logger writes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal, NamedTuple

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

DEBUG, INFO, WARNING, ERROR, CRITICAL = 10, 20, 30, 40, 50
NAMES = {DEBUG: "debug", INFO: "info", WARNING: "warning", ERROR: "error", CRITICAL: "critical"}
NUMBERS = {name: number for number, name in NAMES.items()}

_REMEMBERED = 10_000


def name_of(number: int) -> str:
    """Return the name of the level at or next below *number*."""
    return NAMES.get(number) or NAMES[max(DEBUG, min(CRITICAL, number // 10 * 10))]


class LevelThreshold(NamedTuple):
    """The least level that a logger writes, and the least that it keeps for the tail of a request."""

    written: int
    kept: int


class LevelThresholds:
    """The threshold of every logger: that of the nearest name in *levels*, else *level*."""

    def __init__(self, level: Level, levels: Mapping[str, Level], keeps_details: bool) -> None:
        number = logging.getLevelName(level)
        self.rest = LevelThreshold(number, DEBUG if keeps_details else number)
        self.named = {name: logging.getLevelName(each) for name, each in levels.items()}
        self.lowest = min([self.rest.kept, *self.named.values()])
        self._known: dict[str, LevelThreshold] = {}

    def of(self, logger: str) -> LevelThreshold:
        """Return the threshold of *logger*."""
        return self._known.get(logger) or self._find(logger)

    def _find(self, logger: str) -> LevelThreshold:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        name = logger
        while name and name not in self.named:
            name = name.rpartition(".")[0]
        own = self.named.get(name)
        found = self._known[logger] = self.rest if own is None else LevelThreshold(own, own)
        return found
