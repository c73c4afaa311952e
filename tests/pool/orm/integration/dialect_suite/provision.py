"""A pytest plugin that runs SQLAlchemy's dialect suite on a database of the pool, opened as the plugin opens it.

With a URL of another driver the suite runs on SQLAlchemy's own engine, to compare.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import aiosqlite
import pytest
import sqlalchemy.dialects.mysql.provision
import sqlalchemy.dialects.postgresql.provision
import sqlalchemy.dialects.sqlite.provision  # noqa: F401 - registers the hooks that are replaced here
from sqlalchemy import URL
from sqlalchemy.testing import asyncio as suite_loop
from sqlalchemy.testing import provision
from sqlalchemy.util.concurrency import await_

import scalekit_pool.sqlite.driver
from scalekit_pool.orm.dbapi import DbapiConnection
from scalekit_pool.orm.engine import EnginePool, connection_factory
from scalekit_pool.sqlite.connector import SqliteConnector
from tests.pool.harness import opened
from tests.pool.orm.integration.dialect_suite.requirements import SKIPPED

HOOKS: Any = provision
LOOP: Any = suite_loop
DRIVER = "scalekit"
HOOKS_OF_FILES = ("generate_driver_url", "post_configure_engine", "stop_test_class_outside_fixtures")
"""Hooks by which SQLAlchemy renames, attaches and removes files of SQLite."""


class SuiteDatabase:
    """Opens the database in the loop of the suite when an engine connects first."""

    def __init__(self) -> None:
        self._exits = AsyncExitStack()
        self._connect: Callable[[], DbapiConnection] | None = None

    def connect(self, url: URL) -> DbapiConnection:
        if self._connect is None:
            address = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=False)
            database = await_(self._exits.enter_async_context(opened(address)))
            self._connect = connection_factory(database, lambda: None)
        return self._connect()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        LOOP._run_coroutine_function(self._exits.aclose)


class AttachedConnector(SqliteConnector):
    """Opens connections that have the schema ``test_schema``, a second file."""

    async def open(self) -> aiosqlite.Connection:
        connection = await super().open()
        await self._attach(connection)
        return connection

    async def reset(self, connection: aiosqlite.Connection) -> None:
        await super().reset(connection)
        await self._attach(connection)

    async def _attach(self, connection: aiosqlite.Connection) -> None:
        await connection.execute_fetchall(f"ATTACH '{self._path}.test_schema' AS test_schema")
        if not self._read_only:
            await connection.execute_fetchall("PRAGMA test_schema.journal_mode = WAL")


@pytest.hookimpl(tryfirst=True)  # before SQLAlchemy's plugin makes the engine
def pytest_sessionstart(session: pytest.Session) -> None:
    if DRIVER not in _address(session.config):
        return
    setattr(scalekit_pool.sqlite.driver, SqliteConnector.__name__, AttachedConnector)  # for this process
    for name in HOOKS_OF_FILES:
        hook = getattr(HOOKS, name)
        hook.fns["sqlite"] = hook.fns["*"]
    database = SuiteDatabase()
    session.config.pluginmanager.register(database)

    @HOOKS.update_db_opts.for_db("postgresql", "sqlite", "mysql", "mariadb")  # type: ignore[untyped-decorator] # of SQLAlchemy
    def use_pool(url: URL, options: dict[str, Any]) -> None:
        options.update(poolclass=EnginePool, creator=lambda: database.connect(url))


@pytest.hookimpl(trylast=True)  # after SQLAlchemy's plugin has made the classes of this database
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    database = _address(config).partition("+")[0]
    for name, reason in SKIPPED[database].items():
        found = [item for item in items if _name(item).startswith(name)]
        if not found:
            raise pytest.UsageError(f"no test begins with {name}")
        for item in found:
            item.add_marker(pytest.mark.skip(reason))


def _address(config: pytest.Config) -> str:
    addresses: Any = config.getoption("--dburi")
    return str(addresses[0])


def _name(item: pytest.Item) -> str:
    """Return the class and the name of a test, as ``CTETest::test_select_recursive_round_trip``."""
    cls: Any = getattr(item, "cls", None)
    return f"{getattr(cls, '_sa_orig_cls_name', '')}::{item.name}"
