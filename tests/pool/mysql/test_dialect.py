from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from scalekit_pool.database import PooledDatabase
from scalekit_pool.mysql.connector import WrongServer
from scalekit_pool.mysql.dialect import mysql_dialect
from tests.pool.harness import opened, wait_until_released
from tests.pool.mysql.test_connection import HOSTILE, MODES

pytestmark = [pytest.mark.anyio, pytest.mark.needs("mariadb")]

ITEMS = sa.Table(
    "items", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(50))
)


@pytest.mark.parametrize("mode", MODES)
async def test_a_literal_in_the_text_of_an_expression_is_one_in_any_mode(maria: PooledDatabase, mode: str) -> None:
    """Where the mode has no escapes, backslashes are doubled in vain, which changes a value and no statement."""
    async with maria.connection() as session:
        await session.execute(f"SET sql_mode = '{mode}'")
        for value in HOSTILE:
            if isinstance(value, str) and "\0" not in value:
                literal: Any = sa.bindparam("x", value, literal_execute=True)
                row = await session.fetch_one(sa.select(literal.label("a"), sa.literal(1).label("b")))
                assert row is not None
                assert row.a in (value, value.replace("\\", "\\\\"))
                assert row.b == 1
    await wait_until_released(maria)
    assert await maria.fetch_val(sa.select(sa.func.count()).select_from(ITEMS)) == 0


async def test_expressions_are_compiled_for_the_server(mariadb_url: str, maria: PooledDatabase) -> None:
    async with opened(mariadb_url.replace("mariadb:", "mysql:")) as database:
        rows = await database.fetch_all(sa.insert(ITEMS).values([{"name": "a"}, {"name": "b"}]).returning(ITEMS))
        assert [tuple(row) for row in rows] == [(1, "a"), (2, "b")]
        assert (database.dialect, maria.dialect) == ("mysql", "mysql")


@pytest.mark.parametrize(
    ("version", "returns"), [("5.5.5-10.11.6-MariaDB-1", True), ("10.4.2-MariaDB", False), ("9.7.4-2", False)]
)
def test_the_version_decides_about_returning(version: str, returns: bool) -> None:
    dialect = mysql_dialect("mysql")
    dialect.adapt(version)
    assert dialect.insert_returning is returns


async def test_a_mysql_at_an_address_of_mariadb_is_refused(maria: PooledDatabase) -> None:
    driver = cast(Any, maria.driver)
    server = SimpleNamespace(is_mariadb=False, server_version="9.7.4")
    with pytest.raises(WrongServer, match=r"/shop is a MySQL 9\.7\.4; write mysql:// in url") as error:
        driver._learn_version(server)
    assert driver.is_permanent_error(error.value)
    assert driver._connector.explain(error.value) == str(error.value)
