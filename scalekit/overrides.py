"""The overrides of a service, in every worker and in the supervisor.

The supervisor merges changes and sends all overrides to every worker, and to each new one, so that they outlive the
worker that received the change. The end of each is a time of the monotonic clock, which all processes of a machine
share: every worker ends it by itself, whatever has become of supervisor and operator.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from time import monotonic

import orjson

from scalekit.context import Key
from scalekit.contracts.overrides import Override, OverrideChange

CHANGE_TIMEOUT = 5.0
"""Seconds to wait until the supervisor has sent a change to all workers."""

GroupOverrides = Mapping[str, Override]


def merge(overrides: GroupOverrides, change: OverrideChange) -> dict[str, Override]:
    """Return the *overrides* that have not ended, with *change*."""
    if change.name is None:
        return {}
    merged = {name: each for name, each in active(overrides).items() if name != change.name}
    return merged if change.override is None else {**merged, change.name: change.override}


def active(overrides: GroupOverrides) -> dict[str, Override]:
    """Return those of *overrides* that have not ended."""
    now = monotonic()
    return {name: each for name, each in overrides.items() if each.end > now}


class OverrideRegistry:
    """The supervisor's overrides."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, Override]] = {}

    def change(self, content: bytes) -> bytes:
        """Merge a change that a worker sent, and return the message for all workers."""
        change_id, group, name, override = orjson.loads(content)
        change = OverrideChange(name, override and Override(*override))
        self._groups[group] = merge(self._groups.get(group, {}), change)
        return self._encode(change_id)

    def current(self) -> bytes:
        """Return the message for a new worker."""
        return self._encode("")

    def _encode(self, change_id: str) -> bytes:
        """Return the message with all overrides after the change *change_id*."""
        groups = {group: active(overrides) for group, overrides in self._groups.items()}
        return orjson.dumps(
            [change_id, {group: {name: [*each] for name, each in found.items()} for group, found in groups.items()}]
        )


class ProcessOverrides:
    """The overrides in this process; *forward* sends a change to the supervisor, None without one."""

    def __init__(self) -> None:
        self.forward: Callable[[bytes], None] | None = None
        self._groups: dict[str, ProcessOverrideGroup] = {}
        self._pending: dict[str, asyncio.Future[None]] = {}

    def group(self, name: str) -> ProcessOverrideGroup:
        """Return the group *name*."""
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = ProcessOverrideGroup(name, self)
        return found

    async def change(self, group: ProcessOverrideGroup, change: OverrideChange) -> None:
        """Apply *change* of *group* in all workers; raises TimeoutError when the supervisor does not respond."""
        if self.forward is None:
            group.replace(merge(group.active, change))
            return
        change_id = secrets.token_hex(8)
        applied = self._pending[change_id] = asyncio.get_running_loop().create_future()
        override = None if change.override is None else [*change.override]
        self.forward(orjson.dumps([change_id, group.name, change.name, override]))
        try:
            async with asyncio.timeout(CHANGE_TIMEOUT):
                await applied
        finally:
            del self._pending[change_id]

    def receive(self, content: bytes) -> None:
        """Apply a message of the supervisor."""
        change_id, groups = orjson.loads(content)
        for name, overrides in groups.items():
            self.group(name).replace({key: Override(*each) for key, each in overrides.items()})
        applied = self._pending.get(change_id)
        if applied is not None and not applied.done():
            applied.set_result(None)


PROCESS_OVERRIDES: Key[ProcessOverrides] = Key("process overrides")


class ProcessOverrideGroup:
    """The group *name* of *overrides*."""

    def __init__(self, name: str, overrides: ProcessOverrides) -> None:
        self.name = name
        self._process = overrides
        self._overrides: dict[str, Override] = {}
        self._apply_values: Callable[[Mapping[str, str]], None] | None = None
        self._on_end: Callable[[str], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def active(self) -> dict[str, Override]:
        """The overrides that have not ended, by name."""
        return active(self._overrides)

    async def change(self, change: OverrideChange) -> None:
        """Apply *change* in all workers; raises TimeoutError when the supervisor does not respond."""
        await self._process.change(self, change)

    @contextmanager
    def applied_with(
        self, apply: Callable[[Mapping[str, str]], None], on_end: Callable[[str], None]
    ) -> Generator[None, None, None]:
        """Call *apply* with all values inside the block: now, at each change and when an override ends."""
        self._apply_values, self._on_end = apply, on_end
        self._apply()
        try:
            yield
        finally:
            self._apply_values = self._on_end = None
            self._cancel_timer()

    def replace(self, overrides: dict[str, Override]) -> None:
        """Apply *overrides* in place of the present ones."""
        if overrides != self._overrides:
            self._overrides = overrides
            self._apply()

    def _apply(self) -> None:
        self._cancel_timer()
        if self._apply_values is None:
            return
        self._overrides = active(self._overrides)
        self._apply_values({name: each.value for name, each in self._overrides.items()})
        if self._overrides:
            next_end = min(each.end for each in self._overrides.values())
            self._timer = asyncio.get_running_loop().call_later(next_end - monotonic(), self._end)

    def _end(self) -> None:
        before = self._overrides
        self._apply()
        for name in before.keys() - self._overrides.keys():
            if self._on_end is not None:
                self._on_end(name)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
