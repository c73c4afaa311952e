"""The overrides of log levels, in every worker and in the supervisor.

The supervisor merges changes and sends all overrides to every worker, and to each new one, so that they outlive the
worker that received the change. The end of each is a time of the monotonic clock, which all processes of a machine
share: every worker ends it by itself, whatever has become of supervisor and command.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

import orjson

from scalekit.context import Key
from scalekit.contracts.log_levels import LogLevels

logger = logging.getLogger("scalekit")

LEVELS = ("debug", "info", "warning", "error", "critical")
CHANGE_TIMEOUT = 5.0
"""Seconds to wait until the supervisor has sent a change to all workers."""


class Override(NamedTuple):
    """A level until *end*, in seconds of the monotonic clock."""

    level: str
    end: float


class Change(NamedTuple):
    """One change: *override* of *logger*, empty for all that have no level of their own; None removes it.

    Without *logger* and *override* all overrides are removed.
    """

    logger: str | None
    override: Override | None


Overrides = Mapping[str, Override]


def merge(overrides: Overrides, change: Change) -> dict[str, Override]:
    """Return the *overrides* that have not ended, with *change*."""
    if change.logger is None:
        return {}
    merged = {name: each for name, each in active(overrides).items() if name != change.logger}
    return merged if change.override is None else {**merged, change.logger: change.override}


def active(overrides: Overrides) -> dict[str, Override]:
    """Return those of *overrides* that have not ended."""
    now = monotonic()
    return {name: each for name, each in overrides.items() if each.end > now}


class OverrideRegistry:
    """The supervisor's overrides."""

    def __init__(self) -> None:
        self._overrides: dict[str, Override] = {}

    def change(self, content: bytes) -> bytes:
        """Merge a change that a worker sent, and return the message for all workers."""
        change_id, name, override = orjson.loads(content)
        self._overrides = merge(self._overrides, Change(name, override and Override(*override)))
        return encode(change_id, self._overrides)

    def current(self) -> bytes:
        """Return the message for a new worker."""
        return encode("", active(self._overrides))


def encode(change_id: str, overrides: Overrides) -> bytes:
    """Return the message with all *overrides* after the change *change_id*."""
    return orjson.dumps([change_id, {name: [*each] for name, each in overrides.items()}])


class ProcessOverrides:
    """The overrides in this process; *forward* sends a change to the supervisor, None without one."""

    def __init__(self) -> None:
        self.forward: Callable[[bytes], None] | None = None
        self.levels: LogLevels | None = None
        self._overrides: dict[str, Override] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pending: dict[str, asyncio.Future[None]] = {}

    @property
    def active(self) -> dict[str, Override]:
        """The overrides that have not ended, by logger."""
        return active(self._overrides)

    @contextmanager
    def applied_to(self, levels: LogLevels) -> Generator[None, None, None]:
        """Override *levels* inside the block: now, at each change and when an override ends."""
        self.levels = levels
        self._apply()
        try:
            yield
        finally:
            self.levels = None
            self._cancel_timer()

    async def change(self, change: Change) -> None:
        """Apply *change* in all workers; raises TimeoutError when the supervisor does not respond."""
        if self.forward is None:
            self._replace(merge(self._overrides, change))
            return
        change_id = secrets.token_hex(8)
        applied = self._pending[change_id] = asyncio.get_running_loop().create_future()
        override = None if change.override is None else [*change.override]
        self.forward(orjson.dumps([change_id, change.logger, override]))
        try:
            async with asyncio.timeout(CHANGE_TIMEOUT):
                await applied
        finally:
            del self._pending[change_id]

    def receive(self, content: bytes) -> None:
        """Apply a message of the supervisor."""
        change_id, overrides = orjson.loads(content)
        self._replace({name: Override(*each) for name, each in overrides.items()})
        applied = self._pending.get(change_id)
        if applied is not None and not applied.done():
            applied.set_result(None)

    def _replace(self, overrides: dict[str, Override]) -> None:
        self._overrides = overrides
        self._apply()

    def _apply(self) -> None:
        self._cancel_timer()
        if self.levels is None:
            return
        self._overrides = active(self._overrides)
        self.levels.override({name: each.level for name, each in self._overrides.items()})
        if self._overrides:
            next_end = min(each.end for each in self._overrides.values())
            self._timer = asyncio.get_running_loop().call_later(next_end - monotonic(), self._end)

    def _end(self) -> None:
        before = self._overrides
        self._apply()
        for name in before.keys() - self._overrides.keys():
            logger.info("the override of the log level%s has ended", f" of {name!r}" if name else "")

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


OVERRIDES: Key[ProcessOverrides] = Key("overrides")
