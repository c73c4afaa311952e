"""What the console shows of the open databases; recorded only while a plugin shows pages."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import time

from scalekit import Key
from scalekit_pool.connections.driver import RawConnection
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.database import PooledDatabase
from scalekit_pool.metrics import ConnectionMetrics
from scalekit_pool.query_budget import QueryFinding
from scalekit_pool.statement_table import StatementTable

MAX_FINDINGS = 100
"""Findings that are kept; the one that was found least recently is removed."""


class DatabaseRecords:
    """The open databases and their pools by name, with their statements, and the findings of query budgets."""

    def __init__(self) -> None:
        self.databases: dict[str, tuple[PooledDatabase, StatementTable]] = {}
        self.pools: dict[str, tuple[ConnectionPool[RawConnection], ConnectionMetrics]] = {}
        self.findings: dict[QueryFinding, tuple[int, float]] = {}
        """The number of requests with each finding, and the time of the last one."""

    def add_finding(self, finding: QueryFinding) -> None:
        """Count a request with *finding*."""
        count, _ = self.findings.pop(finding, (0, 0.0))
        if len(self.findings) >= MAX_FINDINGS:
            del self.findings[next(iter(self.findings))]
        self.findings[finding] = (count + 1, time())

    @contextmanager
    def database(self, name: str, database: PooledDatabase, table: StatementTable) -> Generator[None, None, None]:
        """Have *database* among the open ones while inside."""
        self.databases[name] = (database, table)
        try:
            yield
        finally:
            del self.databases[name]

    @contextmanager
    def pool(
        self, name: str, pool: ConnectionPool[RawConnection], metrics: ConnectionMetrics
    ) -> Generator[None, None, None]:
        """Have *pool* among the open ones while inside."""
        self.pools[name] = (pool, metrics)
        try:
            yield
        finally:
            del self.pools[name]


RECORDS: Key[DatabaseRecords] = Key("database records", plugin="pool")
"""Present only when a plugin shows pages."""
