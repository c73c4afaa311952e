"""Open databases as the table says: the one that is written to, and others in the same way."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager

from scalekit import StartError, split_url
from scalekit.contracts import TableObserver
from scalekit.telemetry import Telemetry
from scalekit_pool.config import PoolConfig
from scalekit_pool.database import Database
from scalekit_pool.driver import Driver
from scalekit_pool.instrumentation import Outcome
from scalekit_pool.metrics import ConnectionMetrics, StatementMetrics
from scalekit_pool.slow_query_log import Watch
from scalekit_pool.statement_classifier import Reader
from scalekit_pool.table_usage import UsedBy


class Opener:
    """Opens databases with the options of *config*, measured by *telemetry*; *observer* is told of their tables."""

    def __init__(self, config: PoolConfig, telemetry: Telemetry, observer: TableObserver | None = None) -> None:
        self._config = config
        self._telemetry = telemetry
        self._observer = observer
        self._watch = Watch(config.slow, config.leak_warn)

    @asynccontextmanager
    async def open(self, url: str, name: str, *, read_only: bool) -> AsyncGenerator[Database, None]:
        """Return the database at *url*, open while inside; that it cannot be reached yet is no error."""
        async with self.open_any([url], name, read_only=read_only) as database:
            yield database

    @asynccontextmanager
    async def open_any(
        self, urls: Sequence[str], name: str, *, read_only: bool = False
    ) -> AsyncGenerator[Database, None]:
        """Return the database that several servers at *urls* hold together; the one that takes writes is found.

        Raises StartError when a server answers and refuses: that does not pass by itself.
        """
        outcome = Outcome(name, StatementMetrics(self._telemetry, name), self._watch)
        with ExitStack() as shown:
            driver = self._driver(urls, name, read_only, shown)
            used_by = None if self._observer is None else _used_by(driver.dialect)
            reader = Reader(driver.placeholder, self._config.reset == "when-needed", used_by)
            database = Database(urls[0], driver, outcome, reader, self._observer)
            try:
                await self._connect(database)
                yield database
            finally:
                await database.disconnect()

    async def _connect(self, database: Database) -> None:
        try:
            await database.connect()
        except Exception as error:
            database.is_connected = True  # the pool tries on, and each request is told meanwhile
            if database.driver.is_refusal(error):
                raise StartError(database.driver.writers.supply.trouble) from None

    def _driver(self, urls: Sequence[str], name: str, read_only: bool, shown: ExitStack) -> Driver:
        """Return the driver for *urls*, its connections *shown* in metrics; only that one is imported."""
        metrics = ConnectionMetrics(self._telemetry, name)
        driver: Driver
        if split_url(urls[0]).scheme == "sqlite":
            from scalekit_pool.sqlite.driver import SqliteDriver

            readers = ConnectionMetrics(self._telemetry, f"{name}-readers")
            driver = SqliteDriver(urls[0], self._config, metrics, readers, read_only)
            if driver.readers is not driver.writers:
                shown.enter_context(readers.showing(driver.readers))
        else:
            from scalekit_pool.postgres.driver import PostgresDriver

            driver = PostgresDriver(urls, self._config, metrics, read_only)
        shown.enter_context(metrics.showing(driver.writers))
        return driver


def verify_driver(config: PoolConfig) -> None:
    """Raise ImportError when the driver is not there, and StartError when its certificates are of no use."""
    if split_url(config.addresses[0]).scheme == "sqlite":
        importlib.import_module("scalekit_pool.sqlite.driver")
        return
    from scalekit_pool.postgres.connector import ssl_of

    try:
        ssl_of(config)
    except OSError as error:
        raise StartError(f"tls_ca: no TLS with {config.tls_ca}: {error.strerror or error}; check the file") from None


def _used_by(dialect: str) -> UsedBy:
    """Return what finds the tables of statements; the parser is imported only where somebody wants them."""
    from scalekit_pool.table_parser import TableFinder

    return TableFinder(dialect).used_by
