"""Query the LSNs of primary and replicas, as bytes of write-ahead log, and estimate the lag in seconds.

SQLite has no LSN: it is 0 there.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import NamedTuple

from scalekit.contracts import Database

_OF_PRIMARY = """
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
       current_setting('wal_block_size')::int, current_setting('wal_segment_size')
"""
_FLUSHED = """
SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint,
       substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
"""
_OF_REPLICA = """
SELECT pg_is_in_recovery(), pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint,
       (SELECT received_tli FROM pg_stat_wal_receiver)
"""

_UNITS = {"kB": 2**10, "MB": 2**20, "GB": 2**30}
_PAGE_HEADER, _SEGMENT_HEADER = 24, 40


class ReplicaStatus(NamedTuple):
    """Whether the server is a standby, the LSN it has replayed, and the timeline it follows, 0 if unknown."""

    is_replica: bool
    position: int
    timeline: int = 0


class FlushPosition(NamedTuple):
    """The LSN that a primary has flushed, up to which replicas can be, and its timeline."""

    position: int
    timeline: int


async def commit_position(primary: Database) -> int:
    """Return an LSN at or after every commit on *primary* so far."""
    if primary.dialect != "postgresql":
        return 0
    [row] = await primary.fetch_all(_OF_PRIMARY)
    return _end_of_record(row[0], row[1], row[2])


async def flush_position(primary: Database) -> FlushPosition:
    """Return the LSN that *primary* has flushed; WAL is sent to replicas only after the flush."""
    if primary.dialect != "postgresql":
        return FlushPosition(0, 0)
    [row] = await primary.fetch_all(_FLUSHED)
    return FlushPosition(row[0], int(row[1], 16))


async def replica_status(replica: Database) -> ReplicaStatus:
    """Return the status of *replica*."""
    if replica.dialect != "postgresql":
        await replica.fetch_val("SELECT 1")
        return ReplicaStatus(True, 0)
    [row] = await replica.fetch_all(_OF_REPLICA)
    return ReplicaStatus(row[0], row[1] or 0, row[2] or 0)


def _end_of_record(position: int, page: int, segment: str) -> int:
    """Return the end of the last record before *position*, at which the next record begins.

    If the next record begins after a page header, a replica that has replayed everything is still before the header.
    """
    size = int(segment[:-2]) * _UNITS[segment[-2:]]
    if position % size == _SEGMENT_HEADER:
        return position - _SEGMENT_HEADER
    return position - _PAGE_HEADER if position % page == _PAGE_HEADER else position


class LagEstimator:
    """Estimates the lag in time from the LSNs of the primary of the last *window* seconds.

    A replica that has replayed the LSN of a moment is behind by at most the time that has passed since: no clocks of
    different machines are compared, and an idle primary causes no lag.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._samples: deque[tuple[float, int]] = deque()

    @property
    def position(self) -> int:
        """The last recorded LSN of the primary."""
        return self._samples[-1][1] if self._samples else 0

    def record(self, now: float, position: int) -> None:
        """Record the LSN of the primary at the time *now*."""
        samples = self._samples
        if samples and position < samples[-1][1]:  # another primary with a shorter history
            samples.clear()
        if samples and position == samples[-1][1]:
            samples.pop()
        samples.append((now, position))
        while samples[0][0] < now - self._window and len(samples) > 1:
            samples.popleft()

    def lag(self, now: float, position: int) -> float:
        """Return the upper bound in seconds of the lag of a replica that has replayed *position*; infinite if unknown.

        While the primary is unreachable, a replica that has replayed its last known LSN has no lag.
        """
        if self._samples and position >= self._samples[-1][1]:
            return 0.0
        return next((now - at for at, was in reversed(self._samples) if was <= position), inf)
