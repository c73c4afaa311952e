"""Where databases are in the write-ahead log, in bytes since its beginning; SQLite's have no position, which is 0."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Any, NamedTuple

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


class Standing(NamedTuple):
    """What a replica says of itself: whether it is one, what it has replayed, and on which timeline, 0 if unknown."""

    is_replica: bool
    position: int
    timeline: int = 0


class Flushed(NamedTuple):
    """Up to where replicas can have what a primary has written, and on which timeline."""

    position: int
    timeline: int


async def position_of(primary: Database) -> int:
    """Return a position that is at or past everything that has been committed on *primary*."""
    if primary.dialect != "postgresql":
        return 0
    row: Any = await primary.fetch_one(_OF_PRIMARY)
    return _end_of_record(row[0], row[1], row[2])


async def flushed_by(primary: Database) -> Flushed:
    """Return up to where replicas can have what *primary* has written; what is not flushed is not sent."""
    if primary.dialect != "postgresql":
        return Flushed(0, 0)
    row: Any = await primary.fetch_one(_FLUSHED)
    return Flushed(row[0], int(row[1], 16))


async def standing_of(replica: Database) -> Standing:
    """Return where *replica* is."""
    if replica.dialect != "postgresql":
        await replica.fetch_val("SELECT 1")
        return Standing(True, 0)
    row: Any = await replica.fetch_one(_OF_REPLICA)
    return Standing(row[0], row[1] or 0, row[2] or 0)


def _end_of_record(position: int, page: int, segment: str) -> int:
    """Return where the last record before *position*, where the next one begins, has ended.

    Where that one begins behind the header of a new page, a replica that has everything is still before the header.
    """
    size = int(segment[:-2]) * _UNITS[segment[-2:]]
    if position % size == _SEGMENT_HEADER:
        return position - _SEGMENT_HEADER
    return position - _PAGE_HEADER if position % page == _PAGE_HEADER else position


class Progress:
    """Where the primary was, and when; *remembered* is for how long that is kept, in seconds.

    It tells how far a replica is behind in time without comparing clocks of machines, and an idle primary makes nobody
    late: who has what the primary had at a moment is behind it by no more than what has passed since.
    """

    def __init__(self, remembered: float) -> None:
        self._remembered = remembered
        self._samples: deque[tuple[float, int]] = deque()

    @property
    def position(self) -> int:
        """Where the primary was last."""
        return self._samples[-1][1] if self._samples else 0

    def note(self, now: float, position: int) -> None:
        """Note where the primary is *now*."""
        samples = self._samples
        if samples and position < samples[-1][1]:  # another primary, whose history is shorter
            samples.clear()
        if samples and position == samples[-1][1]:
            samples.pop()
        samples.append((now, position))
        while samples[0][0] < now - self._remembered and len(samples) > 1:
            samples.popleft()

    def behind(self, now: float, position: int) -> float:
        """Return for how many seconds who is at *position* may have been behind, at most; infinite is not known.

        While the primary cannot be asked, who has all that it last had is not behind.
        """
        if self._samples and position >= self._samples[-1][1]:
            return 0.0
        return next((now - at for at, was in reversed(self._samples) if was <= position), inf)
