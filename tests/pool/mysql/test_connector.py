from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scalekit import StartError, Unavailable
from scalekit_pool.database import PooledDatabase
from tests.pool.harness import opened, wait_until_released
from tests.servers import MariaDB

pytestmark = [pytest.mark.anyio, pytest.mark.needs("mariadb")]


async def test_a_password_may_come_from_its_key_or_a_file(mariadb_url: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    bare = mariadb_url.replace(":secret", "")
    choices: list[dict[str, Any]] = [{"password": "secret"}, {"password_file": str(file)}]
    for options in choices:
        async with opened(bare, **options) as database:
            assert await database.fetch_val("SELECT 1") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((":secret", ":wr0ng"), "refuses the user or the password: Access denied"),
        (("/shop?", "/absent"), "has no such database for this user: Unknown database"),
    ],
)
async def test_a_refused_login_is_permanent(mariadb_url: str, change: tuple[str, str], message: str) -> None:
    with pytest.raises(StartError, match=message) as error:
        async with opened(f"{mariadb_url}?".replace(*change).rstrip("?")):
            pass
    assert "wr0ng" not in str(error.value)


async def test_an_unreachable_server_is_explained() -> None:
    async with opened("mysql://u@127.0.0.1:1/shop", acquire_timeout="50ms") as database:
        with pytest.raises(Unavailable, match=r"nothing listens at 127\.0\.0\.1:1"):
            await database.fetch_val("SELECT 1")


async def test_the_session_is_reset_after_statements_that_may_change_it(mariadb_url: str) -> None:
    async with opened(mariadb_url, max_size=1, statement_timeout="20s") as database:
        fresh = await state_of(database)
        async with database.connection() as session:
            await session.execute("SET @a = 1, sql_mode = 'NO_BACKSLASH_ESCAPES', autocommit = 0, time_zone = '+05:00'")
            await session.execute("SET NAMES latin1")
            await session.execute("CREATE TEMPORARY TABLE left_over (a INT)")
            await session.fetch_val("SELECT GET_LOCK('left over', 1)")
            await session.execute("USE information_schema")
            assert await session.fetch_val("SELECT :n + 1", {"n": 1}) == 2
        await wait_until_released(database)
        assert await state_of(database) == fresh
        assert (fresh["mode"], fresh["a"], fresh["limit"], fresh["base"]) != ("NO_BACKSLASH_ESCAPES", 1, 20, "")
        with pytest.raises(Exception, match="left_over"):
            await database.fetch_all("SELECT * FROM left_over")
        assert database.connections_opened == 1
        assert await database.fetch_val("SELECT :n + 1", {"n": 1}) == 2


async def state_of(database: PooledDatabase) -> dict[str, Any]:
    row = await database.fetch_one(
        "SELECT @a AS a, @@sql_mode AS mode, @@autocommit AS autocommit, @@time_zone AS zone, DATABASE() AS base, "
        "@@character_set_client AS charset, @@collation_connection AS collation, @@max_statement_time AS 'limit', "
        "IS_FREE_LOCK('left over') AS is_free"
    )
    assert row is not None
    return dict(row)


async def test_the_pool_reconnects_after_a_restart(maria: PooledDatabase) -> None:
    with MariaDB() as server:
        async with opened(server.url, acquire_timeout="60s", connect_timeout="60s") as database:
            await database.execute("CREATE TABLE t (a INT)")
            server.kill()
            server.start()
            assert await database.fetch_all("SELECT * FROM t") == []
