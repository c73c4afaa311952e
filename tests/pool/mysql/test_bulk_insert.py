from __future__ import annotations

from typing import Any

import pytest
from asyncmy import errors

from scalekit_pool.database import PooledDatabase
from scalekit_pool.mysql import bulk_insert
from scalekit_pool.mysql.bulk_insert import chunks
from scalekit_pool.mysql.connection import MysqlConnection
from tests.pool.harness import wait_until_released

pytestmark = [pytest.mark.anyio, pytest.mark.needs("mariadb")]


def numbered(*numbers: int) -> list[dict[str, Any]]:
    return [{"name": f"n{number}"} for number in numbers]


async def test_only_duplicates_are_skipped_and_not_counted(maria: PooledDatabase) -> None:
    assert await maria.insert_many("items", numbered(1, 2), skip_duplicates=True) == 2
    assert await maria.insert_many("items", numbered(2), skip_duplicates=True) == 0
    assert await maria.insert_many("items", numbered(3), skip_duplicates=True) == 1
    assert await maria.insert_many("items", numbered(1, 2, 3, 4, 5), skip_duplicates=True) == 2
    assert await maria.insert_many("items", numbered(5), skip_duplicates=True, returning=["id"]) == []
    rows = await maria.insert_many("items", numbered(5, 6, 7), skip_duplicates=True, returning=["name"])
    assert [row.name for row in rows] == ["n6", "n7"]
    for returning in (None, ["id"]):
        with pytest.raises(errors.DataError, match="Data too long"):
            await maria.insert_many("items", [{"name": "x" * 51}], skip_duplicates=True, returning=returning)


async def test_a_table_of_another_database_and_hostile_names(maria: PooledDatabase) -> None:
    await maria.execute('CREATE TABLE `a``b` (`c``d "e` INT PRIMARY KEY)')
    assert await maria.insert_many("a`b", [{'c`d "e': 1}, {'c`d "e': 2}], skip_duplicates=True) == 2
    assert await maria.insert_many("shop.items", numbered(1)) == 1


async def test_mysql_returns_what_is_inserted_and_a_generated_key(
    maria: PooledDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await maria.execute("CREATE TABLE bare (a INT, b INT DEFAULT 7)")
    await wait_until_released(maria)
    monkeypatch.setattr(MysqlConnection, "is_mariadb", False)
    rows = await maria.insert_many("items", numbered(1, 2), returning=["id", "name"])
    assert [tuple(row) for row in rows] == [(1, "n1"), (2, "n2")]
    rows = await maria.insert_many("items", numbered(2, 3), skip_duplicates=True, returning=["name"])
    assert [dict(row) for row in rows] == [{"name": "n3"}]
    assert await maria.insert_soon("items", {"name": "n4"}) is None
    with pytest.raises(errors.NotSupportedError, match="MySQL has no RETURNING: b of bare cannot be returned"):
        await maria.insert_many("bare", [{"a": 1}], returning=["a", "b"])
    assert await maria.fetch_val("SELECT count(*) FROM bare") == 0


async def test_large_rows_are_sent_in_several_statements(maria: PooledDatabase) -> None:
    await maria.execute("CREATE TABLE large (text LONGTEXT)")
    assert await maria.insert_many("large", [{"text": "x" * 3_000_000} for _ in range(8)]) == 8


def test_chunks_hold_what_a_statement_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_insert, "MAX_ROWS", 3)
    monkeypatch.setattr(bulk_insert, "MAX_BYTES", 10)
    assert [len(chunk) for chunk in chunks([(1,)] * 7)] == [3, 3, 1]
    assert [len(chunk) for chunk in chunks([("xxxx",)] * 5)] == [2, 2, 1]
    assert [len(chunk) for chunk in chunks([("x" * 20,), ("y",)])] == [1, 1]
    monkeypatch.setattr(bulk_insert, "MAX_PARAMETERS", 5)
    assert [len(chunk) for chunk in chunks([(1, 2)] * 5)] == [2, 2, 1]
