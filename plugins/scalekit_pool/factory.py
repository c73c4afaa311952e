"""Open databases: the primary of ``[plugins.pool]``, and others with the same options."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec

from scalekit import StartError, split_url
from scalekit.contracts import ReadRouter, TableObserver
from scalekit.telemetry import Telemetry
from scalekit_pool.config import PoolConfig
from scalekit_pool.connections.driver import Driver, DriverOptions, RawConnection
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.database import PooledDatabase
from scalekit_pool.instrumentation import StatementInstrumentation
from scalekit_pool.metrics import ConnectionMetrics, StatementMetrics
from scalekit_pool.migrations.files import require_alembic, uses_alembic
from scalekit_pool.query_budget import QueryBudget, ignore_finding
from scalekit_pool.records import DatabaseRecords
from scalekit_pool.session_options import SessionOptions
from scalekit_pool.statement_classifier import StatementParser
from scalekit_pool.statement_table import StatementTable
from scalekit_pool.table_usage import FindTables

UNLIMITED = 1_000_000
"""Tasks that may wait for a connection of a pool whose user limits their number itself."""


class DatabaseFactory:
    """Opens databases with the options of *config* and the metrics of *telemetry*.

    *observer* receives table usage, *records* has the open databases and their statements. *find_router* returns the
    router of reads of ORM sessions, if there is one.
    """

    def __init__(
        self,
        config: PoolConfig,
        telemetry: Telemetry,
        observer: TableObserver | None = None,
        records: DatabaseRecords | None = None,
        find_router: Callable[[], ReadRouter | None] = lambda: None,
    ) -> None:
        self._config = config
        self._telemetry = telemetry
        self._observer = observer
        self._records = records
        self._session_options = SessionOptions(config.session_class, find_router)

    def open(
        self, url: str, name: str, *, read_only: bool, max_size: int | None = None
    ) -> AbstractAsyncContextManager[PooledDatabase]:
        """Return the database at *url*, open while inside; an unreachable server is retried in the background."""
        return self.open_any([url], name, read_only=read_only, max_size=max_size)

    def open_primary(self, name: str, *, max_size: int) -> AbstractAsyncContextManager[PooledDatabase]:
        """Return the servers of ``[plugins.pool]`` behind a pool of their own, open while inside."""
        return self.open_any(self._config.addresses, name, max_size=max_size)

    @asynccontextmanager
    async def open_any(
        self, urls: Sequence[str], name: str, *, read_only: bool = False, max_size: int | None = None
    ) -> AsyncGenerator[PooledDatabase, None]:
        """Return the database of the servers at *urls*; connections go to the primary, or to a replica if *read_only*.

        With *max_size* it has that many connections at most, and no limit of the tasks that wait for them.
        Raise StartError when a server refuses the user, the password or the database name: retrying would not help.
        """
        with ExitStack() as stack:
            driver = self._driver(urls, name, read_only, self._options(max_size), stack)
            statements = None if self._records is None else StatementTable(name, driver.dialect)
            instrumentation = self._instrumentation(name, driver, statements)
            find_tables = None if self._observer is None else _find_tables(driver.dialect)
            parser = StatementParser(driver.dialect, self._config.reset_session == "when-needed", find_tables)
            options = self._session_options
            database = PooledDatabase(urls[0], driver, instrumentation, parser, self._observer, session_options=options)
            if self._records is not None and statements is not None:
                stack.enter_context(self._records.database(name, database, statements))
            try:
                await self._connect(database)
                yield database
            finally:
                await database.disconnect()

    def _instrumentation(
        self, name: str, driver: Driver, statements: StatementTable | None
    ) -> StatementInstrumentation:
        config, metrics = self._config, StatementMetrics(self._telemetry, name)
        report = ignore_finding if self._records is None else self._records.add_finding
        budget = QueryBudget(config.query_budget, self._telemetry, name, report)
        return StatementInstrumentation(
            name,
            driver.dialect,
            driver.expression_dialect.name,
            metrics,
            budget,
            slow_query_threshold=config.slow_query_threshold,
            leak_detection_threshold=config.leak_detection_threshold,
            statements=statements,
        )

    async def _connect(self, database: PooledDatabase) -> None:
        try:
            await database.connect()
        except Exception as error:
            database.is_connected = True  # the pool retries in the background; requests get Unavailable meanwhile
            if database.driver.is_permanent_error(error):
                raise StartError(database.driver.writers.supplier.last_error) from None

    def _options(self, max_size: int | None) -> DriverOptions:
        options = self._config.driver_options
        if max_size is None:
            return options
        min_size = min(1, options.limits.min_size)
        return replace(
            options, limits=replace(options.limits, min_size=min_size, max_size=max_size, max_waiting=UNLIMITED)
        )

    def _driver(
        self, urls: Sequence[str], name: str, read_only: bool, options: DriverOptions, stack: ExitStack
    ) -> Driver:
        """Return the driver for *urls*, importing only that one; its pools are observed until *stack* is closed."""
        metrics = ConnectionMetrics(self._telemetry, name)
        driver: Driver
        scheme = split_url(urls[0]).scheme
        if scheme == "sqlite":
            from scalekit_pool.sqlite.driver import SqliteDriver

            readers = ConnectionMetrics(self._telemetry, f"{name}-readers")
            driver = SqliteDriver(urls[0], options, metrics, readers, read_only)
            if driver.readers is not driver.writers:
                self._observe(f"{name}-readers", driver.readers, readers, stack)
        elif scheme in ("mysql", "mariadb"):
            from scalekit_pool.mysql.driver import MysqlDriver

            driver = MysqlDriver(urls[0], options, metrics, read_only)
        else:
            from scalekit_pool.postgres.driver import PostgresDriver

            driver = PostgresDriver(urls, options, metrics, read_only)
        self._observe(name, driver.writers, metrics, stack)
        return driver

    def _observe(
        self, name: str, pool: ConnectionPool[RawConnection], metrics: ConnectionMetrics, stack: ExitStack
    ) -> None:
        stack.enter_context(metrics.gauges(pool))
        if self._records is not None:
            stack.enter_context(self._records.pool(name, pool, metrics))


def verify_driver(config: PoolConfig) -> None:
    """Raise ImportError without the driver, StartError without Alembic, sslrootcert or session_class."""
    if uses_alembic(config.migrations):
        require_alembic(config.dialect)
    if "session_class" in config.model_fields_set:
        from scalekit_pool.orm.sessions import load_session_class

        load_session_class(config.session_class)
    if config.dialect == "sqlite":
        importlib.import_module("scalekit_pool.sqlite.driver")
        return
    if config.dialect == "mysql" and find_spec("asyncmy") is None:
        raise StartError("url: MySQL and MariaDB need asyncmy: pip install 'scalekit-asgi[mysql]'")
    package = "mysql" if config.dialect == "mysql" else "postgres"
    connector = importlib.import_module(f"scalekit_pool.{package}.connector")
    try:
        connector.ssl_context(config.driver_options)
    except OSError as error:
        reason = error.strerror or error
        raise StartError(f"sslrootcert: cannot load {config.sslrootcert}: {reason}; name a PEM file") from None


def _find_tables(dialect: str) -> FindTables:
    """Return the function that finds a statement's tables; the parser is imported only when there is an observer."""
    from scalekit_pool.table_parser import TableParser

    return TableParser(dialect).find_tables
