"""Track the newest timeline of a PostgreSQL cluster, and close connections to primaries of older ones.

Each promotion begins a timeline with a higher number. A primary on a lower timeline is an old primary that came back
after a failover, or was never stopped: writes that it commits will be lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple
from weakref import WeakSet

import asyncpg

from scalekit_pool.connections.driver import RawConnection

logger = logging.getLogger("scalekit.pool")

REPLACED_AFTER = 10.0
"""Seconds without a connection to a cluster after which the pool accepts another one."""

# pg_control_checkpoint() shows a new timeline only after the next checkpoint, the current WAL segment at once.
_TIMELINE = "CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END"
_WITH_SYSTEM = f"SELECT {_TIMELINE}, (SELECT system_identifier FROM pg_control_system())"
_QUERIES = (_WITH_SYSTEM, f"SELECT {_TIMELINE}, 0")


class ServerTimeline(NamedTuple):
    """The timeline of a primary and the system identifier of its cluster; 0 means unknown."""

    timeline: int
    system: int


class StalePrimary(ConnectionError):
    """The server is a primary, but not on the newest timeline."""


class Timelines:
    """The newest timeline seen by this process; *count* is called for each connection refused for an older one.

    A process that has just started knows only the timelines of servers it can reach.
    """

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count
        self._newest: ServerTimeline | None = None
        self._admitted = 0.0
        self._open: WeakSet[RawConnection] = WeakSet()
        self._stale: dict[str, str] = {}

    @property
    def problems(self) -> str:
        """The reasons why servers were refused; empty when none was."""
        return "; ".join(self._stale.values())

    def admit(self, server: str, seen: ServerTimeline, connection: RawConnection) -> None:
        """Record the timeline of *server* and close connections to older ones; raise StalePrimary if it is older."""
        newest = self._newest
        if not seen.timeline:
            return
        if newest is not None and newest.system and seen.system not in (0, newest.system):
            self._admit_other_system(server, seen, newest)
        elif newest is not None and seen.timeline < newest.timeline:
            self._refuse(
                server,
                f"{server} is a primary on timeline {seen.timeline} behind timeline "
                f"{newest.timeline}: it is an old primary; rebuild it as a standby, or stop it",
            )
        elif newest is None or seen.timeline > newest.timeline:
            self._newest = seen
            self._close_older(seen.timeline)
        self.forget_refusal(server)
        self._admitted = monotonic()
        connection.timeline = seen.timeline
        self._open.add(connection)

    def forget_refusal(self, server: str) -> None:
        """Forget that *server* was refused: it is a standby now, or unreachable."""
        if self._stale.pop(server, ""):
            logger.info("%s is no longer a primary of an older timeline", server)

    def _admit_other_system(self, server: str, seen: ServerTimeline, newest: ServerTimeline) -> None:
        """Accept another cluster, such as one restored from a backup, unless the previous one is in use."""
        if monotonic() - self._admitted < REPLACED_AFTER or any(not each.is_closed() for each in self._open):
            self._refuse(
                server,
                f"{server} is another PostgreSQL cluster (system identifier {seen.system}, not {newest.system}): "
                "list servers of one cluster in urls",
            )
        logger.warning(
            "%s belongs to another PostgreSQL cluster than before (system identifier %s)", server, seen.system
        )
        self._newest = seen

    def _refuse(self, server: str, reason: str) -> None:
        self._count()
        if server not in self._stale:
            logger.warning("%s", reason)
        self._stale[server] = reason
        raise StalePrimary(reason)

    def _close_older(self, timeline: int) -> None:
        """Terminate connections to older primaries at once, so that none of their commits is reported as successful."""
        for connection in list(self._open):
            if connection.timeline < timeline and not connection.is_closed():
                logger.warning(
                    "closing a connection on timeline %d: a newer primary is on timeline %d",
                    connection.timeline,
                    timeline,
                )
                connection.terminate()


async def read_timeline(connection: RawConnection, timeout: float) -> ServerTimeline | None:
    """Return the timeline of the server, or None if it is a standby; zeros when the user may not read it."""
    for query in _QUERIES:
        try:
            return _parse(await _copy(connection, query, timeout))
        except asyncpg.PostgresError as error:
            if isinstance(error, asyncpg.OperatorInterventionError | asyncpg.PostgresConnectionError):
                raise
            logger.debug("cannot read the timeline: %s", error)
    return ServerTimeline(0, 0)


async def _copy(connection: RawConnection, query: str, timeout: float) -> bytes:
    """Return the text result of *query* by COPY, which needs one round trip and leaves no prepared statement."""
    chunks: list[bytes] = []

    async def write(chunk: bytes) -> None:
        chunks.append(chunk)

    await connection.copy_from_query(query, output=write, timeout=timeout)
    return b"".join(chunks)


def _parse(line: bytes) -> ServerTimeline | None:
    timeline, _, system = line.decode().strip().partition("\t")
    return None if timeline == "\\N" else ServerTimeline(int(timeline, 16), int(system))
