"""A SQLite connection has functions that SQLite lacks; one whose opening is cancelled is closed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from scalekit_pool.sqlite.connector import SqliteConnector, uri_of

pytestmark = pytest.mark.anyio


class Slow(sqlite3.Connection):
    """A connection whose opening can be delayed, and that records its closing."""

    began = threading.Event()
    may_open = threading.Event()
    made = 0
    closed = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        Slow.began.set()
        assert Slow.may_open.wait(60)
        super().__init__(*arguments, **options)
        Slow.made += 1

    def close(self) -> None:
        super().close()
        Slow.closed += 1


async def test_a_connection_whose_opening_is_cancelled_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_pool.sqlite.connector.THREAD_EXIT_TIMEOUT", 60.0)
    monkeypatch.setattr(sqlite3, "Connection", Slow)
    file = str(tmp_path / "a.db")
    open_database = asyncio.create_task(SqliteConnector(uri_of(file, ""), file, False, 1.0).open())
    assert await asyncio.to_thread(Slow.began.wait, 60)
    open_database.cancel()
    await asyncio.sleep(0)
    Slow.may_open.set()
    (outcome,) = await asyncio.gather(open_database, return_exceptions=True)
    if isinstance(outcome, aiosqlite.Connection):
        await outcome.close()  # otherwise its thread outlives the tests
    assert isinstance(outcome, asyncio.CancelledError)
    assert (Slow.made, Slow.closed) == (1, 1)


async def test_operators_of_sqlalchemy_have_their_functions(tmp_path: Path) -> None:
    path = f"{tmp_path}/test.db"
    connector = SqliteConnector(uri_of(path, ""), path, False, 1.0)
    connection = await connector.open()
    rows = await connection.execute_fetchall("SELECT 'abc' REGEXP '^a', 'abc' REGEXP '^b', NULL REGEXP 'a', floor(1.5)")
    assert [tuple(row) for row in rows] == [(1, 0, None, 1)]
    await connector.close(connection)
