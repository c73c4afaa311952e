"""Remember the newest timeline of a PostgreSQL, and close connections to servers that are still on an older one.

Each promotion begins a timeline with a higher number. A server that says it is a primary on a lower one is an old
primary that came back after a failover, or was never stopped: what it commits is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakSet

import asyncpg

logger = logging.getLogger("scalekit.pool")

Connection = Any  # asyncpg has no types

REPLACED_AFTER = 10.0
"""Seconds without a connection to a cluster after which another one may take its place."""

# That of pg_control_checkpoint() is right only after the next checkpoint; the name of the current segment is at once.
_TIMELINE = "CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END"
_WITH_SYSTEM = f"SELECT {_TIMELINE}, (SELECT system_identifier FROM pg_control_system())"
_QUERIES = (_WITH_SYSTEM, f"SELECT {_TIMELINE}, 0")


class History(NamedTuple):
    """The timeline of a primary, and the identifier of its cluster, each 0 where it is not known."""

    timeline: int
    system: int


class StalePrimary(ConnectionError):
    """The server says that it is a primary, but is not the newest one."""


class Timelines:
    """The newest history seen in this process; *count* is called for each connection that is refused for an older one.

    What no server that can be reached knows, a process that has just started does not know either.
    """

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count
        self._newest: History | None = None
        self._admitted = 0.0
        self._open: WeakSet[Connection] = WeakSet()
        self._stale: dict[str, str] = {}

    @property
    def report(self) -> str:
        """Return what is wrong with servers that are refused; empty when none is."""
        return "; ".join(self._stale.values())

    def admit(self, server: str, history: History, connection: Connection) -> None:
        """Remember *history* of *server* and close connections to older ones; raises StalePrimary when it is older."""
        newest = self._newest
        if not history.timeline:
            return
        if newest is not None and newest.system and history.system not in (0, newest.system):
            self._admit_other_system(server, history, newest)
        elif newest is not None and history.timeline < newest.timeline:
            self._refuse(
                server,
                f"{server} says that it is a primary, but is on timeline {history.timeline} and timeline "
                f"{newest.timeline} has been seen: it is an old primary; rebuild it as a standby, or stop it",
            )
        elif newest is None or history.timeline > newest.timeline:
            self._newest = history
            self._close_older(history.timeline)
        self.withdraw(server)
        self._admitted = monotonic()
        connection.timeline = history.timeline
        self._open.add(connection)

    def withdraw(self, server: str) -> None:
        """Forget that *server* was refused: it is a standby now, or cannot be reached."""
        if self._stale.pop(server, ""):
            logger.info("%s does not say any more that it is a primary of an older timeline", server)

    def _admit_other_system(self, server: str, history: History, newest: History) -> None:
        """Start anew with another cluster, such as one restored into a new one, unless the old one is in use."""
        if monotonic() - self._admitted < REPLACED_AFTER or any(not each.is_closed() for each in self._open):
            self._refuse(
                server,
                f"{server} is another PostgreSQL cluster (system identifier {history.system}, not {newest.system}): "
                "name servers of one replicated PostgreSQL",
            )
        logger.warning("%s is another PostgreSQL cluster than before (%s)", server, history.system)
        self._newest = history

    def _refuse(self, server: str, why: str) -> None:
        self._count()
        if server not in self._stale:
            logger.warning("%s", why)
        self._stale[server] = why
        raise StalePrimary(why)

    def _close_older(self, timeline: int) -> None:
        """Cut connections to older primaries at once: what is under way there must not be reported as committed."""
        for connection in list(self._open):
            if connection.timeline < timeline and not connection.is_closed():
                logger.warning(
                    "a connection on timeline %d is closed: there is a primary on timeline %d",
                    connection.timeline,
                    timeline,
                )
                connection.terminate()


async def history_of(connection: Connection, timeout: float) -> History | None:
    """Return the history of the server, or None where it is a standby; zeros where it does not tell."""
    for query in _QUERIES:
        try:
            return _parsed(await _copied(connection, query, timeout))
        except asyncpg.PostgresError as error:
            if isinstance(error, asyncpg.OperatorInterventionError | asyncpg.PostgresConnectionError):
                raise
            logger.debug("the server does not tell its timeline: %s", error)
    return History(0, 0)


async def _copied(connection: Connection, query: str, timeout: float) -> bytes:
    """Return what *query* gives as text: by COPY, which takes one trip and leaves no prepared statement."""
    chunks: list[bytes] = []

    async def write(chunk: bytes) -> None:
        chunks.append(chunk)

    await connection.copy_from_query(query, output=write, timeout=timeout)
    return b"".join(chunks)


def _parsed(line: bytes) -> History | None:
    timeline, _, system = line.decode().strip().partition("\t")
    return None if timeline == "\\N" else History(int(timeline, 16), int(system))
