"""The state of a schedule: one row, which all processes share, and the stores that change it.

Moments and durations are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from scalekit_queue.envelope import Envelope

CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
  prefix TEXT NOT NULL,
  name TEXT NOT NULL,
  rule TEXT NOT NULL DEFAULT '',
  last BIGINT NOT NULL DEFAULT -1,
  published BIGINT NOT NULL DEFAULT 0,
  running BIGINT NOT NULL DEFAULT 0,
  paused BIGINT NOT NULL DEFAULT 0,
  outcome TEXT NOT NULL DEFAULT '',
  duration BIGINT NOT NULL DEFAULT 0,
  seen BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (prefix, name)
)
"""
COLUMNS = "name, rule, last, published, running, paused, outcome, duration, seen"
READ = f"SELECT {COLUMNS} FROM {{table}} WHERE prefix = :prefix"
# Creates a missing row and locks an existing one, until the end of the transaction, in one statement.
LOCK = f"""
INSERT INTO {{table}} (prefix, name) VALUES (:prefix, :name)
ON CONFLICT (prefix, name) DO UPDATE SET name = excluded.name RETURNING {COLUMNS}
"""
WRITE = """
UPDATE {table} SET rule = :rule, last = :last, published = :published, running = :running, paused = :paused,
  outcome = :outcome, duration = :duration, seen = :seen WHERE prefix = :prefix AND name = :name
"""
DELETE_UNSEEN = "DELETE FROM {table} WHERE prefix = :prefix AND seen < :before"


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """The row of the schedule *name*.

    *last* is the latest tick that was published or dropped, -1 in a new row; *published* is when that happened.
    *running* is the tick whose message is not handled yet, or 0. *outcome* and *duration* are those of the latest run.
    *seen* is when a process last had the schedule.
    """

    name: str
    rule: str = ""
    last: int = -1
    published: int = 0
    running: int = 0
    paused: int = 0
    outcome: str = ""
    duration: int = 0
    seen: int = 0

    def values(self) -> Mapping[str, object]:
        """Return the row by column."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class StateChange:
    """The new *state* of a schedule, and the messages that are stored with it; *refusal* says why nothing changes.

    *missed* and *overlapped* are the numbers of ticks that are dropped.
    """

    state: ScheduleState
    envelopes: Sequence[Envelope] = ()
    missed: int = 0
    overlapped: int = 0
    refusal: str = ""


Update = Callable[[ScheduleState, int], StateChange]
"""Returns the change of a state at a moment; it has no effects, since a transaction may be repeated."""


class ScheduleStore(Protocol):
    """Stores the states, and messages in the same transaction; its clock is the same for all processes."""

    async def read(self) -> tuple[int, Mapping[str, ScheduleState]]:
        """Return the current time of the store, and the states by name."""
        ...

    async def change(self, name: str, update: Update) -> StateChange:
        """Lock the state of *name*, apply *update*, store its messages, commit, and return the change."""
        ...

    async def delete_unseen(self, before: int) -> None:
        """Delete the states that no process has had since *before*."""
        ...
