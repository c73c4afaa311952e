"""A database that responds but takes no writes: readiness fails, writes get 503, reads continue, and it recovers."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit_pool.database import PooledDatabase
from scalekit_pool.health import check_database
from scalekit_pool.sqlite import file_health
from tests.pool.harness import opened, wait_until_released
from tests.servers import Postgres
from tests.small_disk import small_disk

pytestmark = pytest.mark.anyio

LIMIT = 60.0
INSERT = "INSERT INTO items (text) VALUES (:text)"
LARGE = {"text": "x" * 20_000}


@pytest.fixture(name="small_disk")
def a_small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, "1m") as disk:
        yield disk


@pytest.fixture(autouse=True)
def written_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_health, "WRITE_INTERVAL", 0.0)


@asynccontextmanager
async def items(url: str, **options: Any) -> AsyncGenerator[PooledDatabase, None]:
    async with opened(url, **options) as database:
        await database.execute("CREATE TABLE IF NOT EXISTS items (text text)")
        await database.execute(INSERT, {"text": "first"})
        yield database


async def reads(database: PooledDatabase) -> bool:
    return bool(await database.fetch_val("SELECT text FROM items") == "first")


async def wait_until_unready(database: PooledDatabase, reason: str) -> None:
    """Wait until the check fails with *reason*."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                await check_database(database)
            except (ConnectionError, Unavailable) as error:
                assert reason in str(error)  # noqa: PT017 - it is raised or not yet
                return
            await asyncio.sleep(0.02)


async def wait_until_writable(database: PooledDatabase) -> None:
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                await check_database(database)
                await database.execute(INSERT, LARGE)
                return
            except (ConnectionError, Unavailable):
                await asyncio.sleep(0.02)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 1024, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return ballast


@pytest.mark.parametrize("written_first", [False, True])
async def test_writes_fail_while_the_disk_is_full(small_disk: Path, written_first: bool) -> None:
    async with items(f"sqlite:///{small_disk}/a.db") as database:
        await check_database(database)
        ballast = fill(small_disk)
        if written_first:
            with pytest.raises(Unavailable, match="takes no writes: database or disk is full"):
                await database.execute(INSERT, LARGE)
        await wait_until_unready(database, "full")
        with pytest.raises(Unavailable) as raised:
            async with database.transaction():
                await database.execute(INSERT, LARGE)
        assert (raised.value.status_code, raised.value.headers) == (503, {"Retry-After": "1"})
        with pytest.raises(Unavailable):
            await database.insert_many("items", [LARGE] * 3)
        assert await reads(database)
        ballast.unlink()
        await wait_until_writable(database)
        await wait_until_released(database)


async def test_a_service_starts_and_reads_on_a_full_disk(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/a.db"
    async with items(url):
        ballast = fill(small_disk)
        async with opened(url, acquire_timeout="500ms") as database:
            await wait_until_unready(database, "")
            ballast.unlink()
            await wait_until_writable(database)
            assert await reads(database)


@pytest.mark.parametrize("place", ["file", ":memory:"])
async def test_writes_fail_at_max_page_count(tmp_path: Path, place: str) -> None:
    url = f"sqlite:///{tmp_path}/a.db" if place == "file" else "sqlite:///:memory:"
    async with items(url) as database:
        lent = database.driver.writers.acquire_nowait()
        assert lent is not None
        pages = (await lent.connection.execute_fetchall("PRAGMA page_count"))[0][0]
        await lent.connection.execute_fetchall(f"PRAGMA max_page_count = {pages}")
        database.driver.writers.release(lent)
        with pytest.raises(Unavailable, match="full"):
            await database.execute(INSERT, LARGE)
        if place == "file":
            lent = await database.driver.writers.acquire()
            await lent.connection.execute_fetchall(f"PRAGMA max_page_count = {pages}")
            database.driver.writers.release(lent)
            await wait_until_unready(database, "max_page_count")
            database.driver.writers.invalidate_all()
        assert await reads(database)
        await wait_until_writable(database)


async def test_a_file_locked_by_another_process_fails_the_check(tmp_path: Path) -> None:
    async with items(f"sqlite:///{tmp_path}/a.db", acquire_timeout="300ms") as database:
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await check_database(database)  # other connections may write for some seconds
        await wait_until_unready(database, "locked by another process for")
        with pytest.raises(Unavailable, match="waiting for a lock"):
            await database.execute(INSERT, LARGE)
        assert await reads(database)
        other.execute("ROLLBACK")
        other.close()
        await wait_until_writable(database)


async def test_readiness_fails_although_the_writer_is_always_busy(tmp_path: Path) -> None:
    async with items(f"sqlite:///{tmp_path}/a.db", acquire_timeout="300ms") as database:
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ended = asyncio.Event()

        async def write_on() -> None:
            while not ended.is_set():
                try:
                    await database.execute(INSERT, LARGE)
                except Unavailable:
                    pass

        writers = [asyncio.create_task(write_on()) for _ in range(3)]
        await wait_until_unready(database, "")
        other.execute("ROLLBACK")
        other.close()
        ended.set()
        await asyncio.wait(writers)
        await wait_until_writable(database)


@pytest.mark.parametrize("removed", ["file", "folder"])
async def test_a_deleted_file_makes_requests_fail_until_it_is_restored(tmp_path: Path, removed: str) -> None:
    folder, backup = tmp_path / "data", tmp_path / "kept"
    folder.mkdir()
    async with items(f"sqlite:///{folder}/a.db", acquire_timeout="500ms") as database:
        lent = database.driver.writers.acquire_nowait()
        assert lent is not None
        await lent.connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        database.driver.writers.release(lent)
        shutil.copytree(folder, backup)
        if removed == "folder":
            shutil.rmtree(folder)
        else:
            for file in folder.iterdir():
                file.unlink()
        await wait_until_unready(database, "a.db")
        with pytest.raises(Unavailable):
            await until_refused(database)
        assert not (folder / "a.db").exists(), "an empty file is no database"
        if removed == "folder":
            folder.mkdir()
        shutil.copy(backup / "a.db", folder / "a.db")
        await wait_until_writable(database)
        assert await reads(database)
        await wait_until_released(database)


async def until_refused(database: PooledDatabase) -> None:
    async with asyncio.timeout(LIMIT):
        while True:
            await database.execute(INSERT, {"text": "lost"})


async def test_the_check_does_not_change_the_file(tmp_path: Path) -> None:
    async with items(f"sqlite:///{tmp_path}/a.db") as database:
        await database.execute("PRAGMA user_version = 7")
        for _ in range(3):
            await check_database(database)
        assert await database.fetch_val("PRAGMA user_version") == 7
        assert await database.fetch_val("PRAGMA busy_timeout") == 5000


async def test_a_file_opened_read_only_is_healthy(tmp_path: Path) -> None:
    async with items(f"sqlite:///{tmp_path}/a.db"), opened(f"sqlite:///{tmp_path}/a.db?mode=ro") as database:
        await check_database(database)
        assert await reads(database)


@pytest.fixture
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.mark.needs("postgres")
@pytest.mark.parametrize(
    ("on", "off"),
    [
        ("ALTER SYSTEM SET default_transaction_read_only = on", "ALTER SYSTEM RESET default_transaction_read_only"),
        ("ALTER ROLE app SET default_transaction_read_only = on", "ALTER ROLE app RESET ALL"),
    ],
)
async def test_a_read_only_postgresql_fails_the_check(server: Postgres, on: str, off: str) -> None:
    server.sql("CREATE ROLE app LOGIN SUPERUSER")
    async with items(server.url.replace("postgres@", "app@"), min_size=2, max_size=2) as database:
        await check_database(database)
        server.sql(on)
        server.sql("SELECT pg_reload_conf()")
        database.driver.writers.invalidate_all()
        await wait_until_unready(database, "default_transaction_read_only is on")
        with pytest.raises(Unavailable, match="takes no writes: its default_transaction_read_only is on"):
            await database.execute(INSERT, LARGE)
        with pytest.raises(Unavailable, match="takes no writes: its default_transaction_read_only is on"):
            async with database.transaction():
                await database.execute(INSERT, LARGE)
        assert await reads(database)
        renewed = database.driver.writers.supplier.opened
        for _ in range(50):
            with pytest.raises(Unavailable):
                await database.execute(INSERT, LARGE)
        assert database.driver.writers.supplier.opened - renewed < 25, "not a connection for each write that fails"
        server.sql(off)
        server.sql("SELECT pg_reload_conf()")
        await wait_until_writable(database)


@pytest.mark.needs("postgres")
async def test_a_transaction_begun_on_a_read_only_server_stays_unavailable(server: Postgres) -> None:
    async with items(server.url, max_size=2) as database:
        server.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        server.sql("SELECT pg_reload_conf()")
        await wait_until_unready(database, "default_transaction_read_only")
        with pytest.raises(Unavailable, match="takes no writes"):  # noqa: PT012
            async with database.transaction(), asyncio.timeout(LIMIT):
                assert await database.fetch_val("SHOW transaction_read_only") == "on"
                server.sql("ALTER SYSTEM RESET default_transaction_read_only")
                server.sql("SELECT pg_reload_conf()")
                while await database.fetch_val("SHOW default_transaction_read_only") == "on":
                    await asyncio.sleep(0.01)
                await database.execute(INSERT, LARGE)
        await wait_until_writable(database)


@pytest.mark.needs("postgres")
async def test_a_write_in_a_read_only_transaction_does_not_demote_the_server(server: Postgres) -> None:
    async with items(server.url, max_size=2) as database:
        generation = database.driver.writers.supplier.generation
        async with database.connection() as connection:
            await connection.execute("BEGIN READ ONLY")
            with pytest.raises(Exception, match="cannot execute INSERT in a read-only transaction"):
                await connection.execute(INSERT, LARGE)
        assert database.driver.writers.supplier.generation == generation
        await check_database(database)


@pytest.mark.needs("postgres")
async def test_a_postgresql_with_a_full_disk_fails_the_check(server: Postgres) -> None:
    async with items(server.url, max_size=2) as database:
        full = "DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
        with pytest.raises(Unavailable, match="takes no writes: could not extend file"):
            await database.execute(full)
        await check_database(database)
        assert database.driver.write_doubt is None
        await wait_until_writable(database)
