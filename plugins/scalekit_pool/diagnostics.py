"""Diagnostics of the database server: connections of all processes, durability, access, clock and version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from time import time
from typing import Any

from scalekit import (
    CONNECTION_USES,
    ConnectionUse,
    Context,
    Diagnostic,
    Finding,
    Severity,
    clock_findings,
    is_loopback,
    process_count,
    separate_stores,
)
from scalekit.contracts import DATABASE, Database
from scalekit_pool.config import PoolConfig

SERVER = "the database server"
MANY_RETAINED = 2**30
"""Bytes of WAL that an unused replication slot retains before it is a finding."""
TIMEOUT = 10.0
"""Seconds for all statements of a diagnostic."""
LOSES_ALL: Mapping[str, str] = dict.fromkeys(("fsync", "full_page_writes"), ", and can destroy the whole database")
ENDS = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
"""The last updates of PostgreSQL's major versions (postgresql.org/support/versioning)."""

POSTGRESQL = """
SELECT CAST(current_setting('server_version_num') AS integer) / 10000 AS major,
  current_setting('server_version') AS version,
  CAST(current_setting('max_connections') AS integer) AS max_connections,
  CAST(current_setting('superuser_reserved_connections') AS integer)
    + CAST(coalesce(current_setting('reserved_connections', true), '0') AS integer) AS reserved,
  current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
  current_setting('synchronous_commit') AS synchronous_commit,
  current_setting('idle_in_transaction_session_timeout') AS idle_timeout,
  CAST(current_setting('tcp_keepalives_idle') AS integer) AS keepalive,
  current_setting('is_superuser') AS is_superuser,
  coalesce(inet_client_addr() <> inet_server_addr(), false) AS is_remote,
  CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now,
  (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit,
  (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit
"""
SLOTS = """
SELECT slot_name, CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS bigint) AS retained
FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL AND NOT pg_is_in_recovery()
"""
MYSQL = """
SELECT @@version AS version, @@max_connections AS max_connections,
  @@innodb_flush_log_at_trx_commit AS flush, UNIX_TIMESTAMP(NOW(6)) AS now
"""


def pool_diagnostics(context: Context) -> Sequence[Diagnostic]:
    """Return the diagnostics of the database of ``[plugins.pool]``, and of those that other plugins have opened."""
    config = context.config(PoolConfig)
    uses = context.shared(CONNECTION_USES, list[ConnectionUse])
    uses.append(ConnectionUse("plugins.pool.max_size", config.max_size))
    others = Diagnostic("other database servers", partial(_probe_others, context), timeout=TIMEOUT)
    if config.dialect == "sqlite":
        message = "each has data of its own, in a file or in memory"
        remedy = "set url to a PostgreSQL"
        return [*separate_stores(context, Severity.ERROR, message, "plugins.pool.url", remedy), others]
    probe = _probe_postgresql if config.dialect == "postgresql" else _probe_mysql
    return [Diagnostic("database server", partial(probe, context, config), timeout=TIMEOUT), others]


async def _probe_postgresql(context: Context, config: PoolConfig) -> Sequence[Finding]:
    uses = [each for each in context.get(CONNECTION_USES) if each.database is None]
    found = await _examine_postgresql(context.get(DATABASE), uses, process_count(context), "plugins.pool.url")
    return [*found, *access_findings(config)]


async def _probe_others(context: Context) -> Sequence[Finding]:
    uses = [each for each in context.get(CONNECTION_USES) if each.database is not None]
    return [
        finding
        for use in uses
        if use.database is not None
        for finding in await _examine_postgresql(context.get(use.database), [use], process_count(context), use.key)
    ]


async def _examine_postgresql(
    database: Database, uses: Sequence[ConnectionUse], processes: int, key: str
) -> Sequence[Finding]:
    settings, offset = await _settings(database, POSTGRESQL)
    slots = [dict(row) for row in await database.fetch_all(SLOTS)]
    limits = [settings["max_connections"] - settings["reserved"], settings["role_limit"], settings["database_limit"]]
    return [
        *connection_findings(uses, processes, min(limit for limit in limits if limit >= 0), "max_connections"),
        *durability_findings(settings),
        *session_findings(settings),
        *slot_findings(slots),
        *clock_findings(offset, SERVER, key),
        *version_findings(settings["major"], settings["version"], datetime.now(UTC).date()),
    ]


async def _probe_mysql(context: Context, config: PoolConfig) -> Sequence[Finding]:
    settings, offset = await _settings(context.get(DATABASE), MYSQL)
    uses = [each for each in context.get(CONNECTION_USES) if each.database is None]
    durability = []
    if int(settings["flush"]) != 1:
        durability.append(_not_durable(Severity.WARNING, "innodb_flush_log_at_trx_commit", str(settings["flush"]), "1"))
    limit = int(settings["max_connections"])
    return [
        *connection_findings(uses, process_count(context), limit, "max_connections"),
        *durability,
        *clock_findings(offset, SERVER, "plugins.pool.url"),
        *access_findings(config),
    ]


async def _settings(database: Database, sql: str) -> tuple[Mapping[str, Any], float]:
    """Return the row of *sql*, and by how many seconds the clock of the server is ahead."""
    await database.fetch_val("SELECT 1")  # opens a connection, which would take time between both clocks
    began = time()
    row = await database.fetch_one(sql)
    if row is None:
        raise LookupError("the settings of the server have no row")
    settings = dict(row)
    return settings, float(settings["now"]) - (began + time()) / 2


def connection_findings(uses: Sequence[ConnectionUse], processes: int, limit: int, key: str) -> Iterator[Finding]:
    """Yield whether *processes* with the pools of *uses* may open more connections than the *limit* of the server."""
    needed = processes * sum(each.count for each in uses)
    if needed <= 0.8 * limit:
        return
    size = max(1, int(0.8 * limit) // processes // max(1, len(uses)))
    pools = " + ".join(f"{each.key} {each.count}" for each in uses)
    yield Finding(
        "database-connections",
        Severity.ERROR if needed > limit else Severity.WARNING,
        f"{processes} processes with {pools} may open {needed} connections, and the server has {limit} for them",
        f"lower max_size to {size}, raise {key} of the server, or put pgbouncer between",
        key,
        str(limit),
    )


def durability_findings(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield settings with which committed transactions can be lost."""
    for key, severity in (("fsync", Severity.ERROR), ("full_page_writes", Severity.ERROR)):
        if settings[key] != "on":
            yield _not_durable(severity, key, settings[key], "on")
    if settings["synchronous_commit"] == "off":
        yield _not_durable(Severity.WARNING, "synchronous_commit", "off", "on")


def session_findings(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield rights and time-outs of sessions that are unwise."""
    if settings["is_superuser"] == "on":
        yield Finding(
            "database-role",
            Severity.WARNING,
            "the role is a superuser: an injected statement reads files and runs programs of the server",
            "create a role that owns the tables of the service only",
            "is_superuser",
            "on",
        )
    if settings["idle_timeout"] == "0":
        yield Finding(
            "database-idle-transactions",
            Severity.ADVICE,
            "a transaction that a hanging process leaves open keeps its locks, and VACUUM waiting, without end",
            "ALTER ROLE ... SET idle_in_transaction_session_timeout = '5min'",
            "idle_in_transaction_session_timeout",
            "0",
        )
    if settings["keepalive"] >= 3600 and settings["is_remote"]:
        yield Finding(
            "database-keepalive",
            Severity.ADVICE,
            f"the locks of a machine that disappears are kept for {settings['keepalive']} s and longer",
            "set tcp_keepalives_idle = 60 on the server",
            "tcp_keepalives_idle",
            str(settings["keepalive"]),
        )


def slot_findings(slots: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield replication slots that nobody reads, for which the server keeps WAL until its disk is full."""
    for slot in slots:
        if slot["retained"] >= MANY_RETAINED:
            yield Finding(
                "replication-slot",
                Severity.WARNING,
                f"the unused replication slot {slot['slot_name']} retains {slot['retained'] // 2**20} MiB of WAL",
                f"start its standby, or SELECT pg_drop_replication_slot('{slot['slot_name']}');"
                " max_slot_wal_keep_size limits what slots retain",
                "pg_replication_slots",
                slot["slot_name"],
            )


def version_findings(major: int, version: str, today: date) -> Iterator[Finding]:
    """Yield whether the *version* of PostgreSQL gets no updates *today*."""
    if major < min(ENDS) or today > ENDS.get(major, today):
        yield Finding(
            "database-version",
            Severity.WARNING,
            f"PostgreSQL {version} gets no updates any more",
            "upgrade to a supported major version",
            "server_version",
            version,
        )


def access_findings(config: PoolConfig) -> Iterator[Finding]:
    """Yield whether the way to a server on another machine may be unencrypted."""
    hosts = _remote_hosts(config)
    if hosts and config.sslmode in ("disable", "prefer"):
        yield Finding(
            "database-tls",
            Severity.WARNING,
            f"the connection to {', '.join(hosts)} may be unencrypted, and nothing verifies the server",
            'set sslmode = "verify-full" in [plugins.pool]; "require" only encrypts',
            "plugins.pool.sslmode",
            config.sslmode,
        )


def _remote_hosts(config: PoolConfig) -> list[str]:
    hosts = [host for url in config.urls or (config.url,) for host, _ in url.parts.hosts if host]
    return [host for host in hosts if not is_loopback(host)]


def _not_durable(severity: Severity, key: str, value: str, safe: str) -> Finding:
    return Finding(
        "database-durability",
        severity,
        f"a crash of the server loses committed transactions{LOSES_ALL.get(key, '')}",
        f"set {key} = {safe} on the server",
        key,
        value,
    )
