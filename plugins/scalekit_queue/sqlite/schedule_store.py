"""The states of schedules in the queue's file, changed in the transaction that inserts their messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import time

from scalekit_queue.schedules.state import CREATE, DELETE_UNSEEN, LOCK, READ, WRITE, ScheduleState, StateChange, Update
from scalekit_queue.sqlite.group_commit import GroupCommitWriter

TABLE = "schedules"
PREFIX = {"prefix": ""}
"""A file belongs to one service."""
TIMEOUT = 5.0
"""Seconds within which a transaction must be committed."""
_CREATE, _READ, _LOCK, _WRITE, _DELETE = (
    statement.format(table=TABLE) for statement in (CREATE, READ, LOCK, WRITE, DELETE_UNSEEN)
)


class FileScheduleStore:
    """Implements :class:`scalekit_queue.schedules.state.ScheduleStore` with *writer*; *wake* wakes its consumers."""

    def __init__(self, writer: GroupCommitWriter, wake: Callable[[], None]) -> None:
        self._writer = writer
        self._wake = wake
        self._created = False

    async def read(self) -> tuple[int, Mapping[str, ScheduleState]]:
        """Return the time of this machine, and the states by name."""
        async with asyncio.timeout(TIMEOUT):
            await self._create_once()
            found: tuple[int, Mapping[str, ScheduleState]] = await self._writer.run(self._read)
        return found

    async def change(self, name: str, update: Update) -> StateChange:
        """Apply *update* to the state of *name* and insert its messages in one transaction."""
        async with asyncio.timeout(TIMEOUT):
            await self._create_once()
            change: StateChange = await self._writer.execute(self._change, name, update)
        if change.envelopes:
            self._wake()
        return change

    async def delete_unseen(self, before: int) -> None:
        """Delete the states that no process has had since *before*."""
        async with asyncio.timeout(TIMEOUT):
            await self._writer.execute(self._delete_unseen, before)

    async def _create_once(self) -> None:
        if not self._created:
            await self._writer.execute(self._create)
            self._created = True

    def _create(self) -> None:
        self._writer.store.raw.execute(_CREATE)

    def _read(self) -> tuple[int, Mapping[str, ScheduleState]]:
        rows = self._writer.store.raw.execute(_READ, PREFIX).fetchall()
        return _now(), {row[0]: ScheduleState(*row) for row in rows}

    def _change(self, name: str, update: Update) -> StateChange:
        raw = self._writer.store.raw
        (row,) = raw.execute(_LOCK, {**PREFIX, "name": name}).fetchall()
        state = ScheduleState(*row)
        change = update(state, _now())
        if change.state != state:
            raw.execute(_WRITE, {**PREFIX, **change.state.values()})
        self._writer.store.insert(change.envelopes)
        return change

    def _delete_unseen(self, before: int) -> None:
        self._writer.store.raw.execute(_DELETE, {**PREFIX, "before": before})


def _now() -> int:
    return round(time() * 1000)
