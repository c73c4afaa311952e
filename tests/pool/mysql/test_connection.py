"""Values never become SQL, whatever the mode of the session."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from asyncmy import errors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalekit_pool.database import PooledDatabase
from scalekit_pool.mysql.connection import MAX_STATEMENTS, MysqlConnection, check_arguments
from tests.pool.harness import opened

pytestmark = [pytest.mark.anyio, pytest.mark.needs("mariadb")]

MODES = ["STRICT_TRANS_TABLES", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"]
HOSTILE: list[str | bytes] = [
    "'; DROP TABLE items; -- ",
    "\\'; DROP TABLE items; -- ",
    "\\",
    "\\\\'",
    '"; DROP TABLE items; # ',
    "\x00\x1a\n\r\t%s ? :name",
    "\u02bc\uff07\U0001f600",
    b"\\' OR 1 = 1 -- ",
    b"\xbf\x27 OR 1 = 1 -- ",
    bytes(range(256)),
]


@pytest.mark.parametrize("mode", MODES)
async def test_a_value_is_stored_as_it_is_in_any_mode(maria: PooledDatabase, mode: str) -> None:
    await maria.execute("CREATE TABLE kept (place INT, text TEXT CHARACTER SET utf8mb4, bytes BLOB)")
    async with maria.connection() as session:
        await session.execute(f"SET sql_mode = '{mode}'")
        rows: list[dict[str, Any]] = [
            {
                "place": place,
                "text": value if isinstance(value, str) else None,
                "bytes": value if isinstance(value, bytes) else None,
            }
            for place, value in enumerate(HOSTILE)
        ]
        await session.execute("INSERT INTO kept VALUES (:place, :text, :bytes)", rows[0])
        await session.execute_many("INSERT INTO kept VALUES (:place, :text, :bytes)", rows[1:])
        await session.insert_many("kept", [{**row, "place": row["place"] + 100} for row in rows])
        for row in await session.fetch_all("SELECT * FROM kept"):
            assert (row.text or row.bytes) == HOSTILE[row.place % 100]
        for place, value in enumerate(HOSTILE):
            column = "text" if isinstance(value, str) else "bytes"
            found = f"SELECT count(*) FROM kept WHERE {column} = :value AND place = :place"
            assert await session.fetch_val(found, {"value": value, "place": place}) == 1
    assert await maria.fetch_val("SELECT count(*) FROM items") == 0


@given(value=st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.binary(max_size=30)))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_text_returns(connection: MysqlConnection, value: Any) -> None:
    result = await connection.execute("SELECT HEX(?), ?", [value, 1])
    assert bytes.fromhex(result.rows[0][0]) == (value.encode() if isinstance(value, str) else value)


async def test_one_text_is_one_statement(maria: PooledDatabase, connection: MysqlConnection) -> None:
    with pytest.raises(errors.ProgrammingError, match="syntax"):
        await maria.fetch_all("SELECT 1; DROP TABLE items")
    with pytest.raises(errors.ProgrammingError, match="syntax"):
        await connection.execute("SHOW TABLES; DROP TABLE items")
    assert await maria.fetch_val("SELECT count(*) FROM items") == 0


async def test_values_of_each_type_return(maria: PooledDatabase) -> None:
    values = {
        "a": 2**64 - 1,
        "b": -(2**63),
        "c": True,
        "d": Decimal("123456789.123456789"),
        "e": datetime(2024, 2, 29, 12, 30, 15, 123456),
        "f": date(2024, 2, 29),
        "g": timedelta(hours=-30, microseconds=5),
        "h": 0.1,
        "i": 0.1,
        "j": b"\x00\xff",
        "k": json.dumps({"a": [1, "ü"]}),
        "l": None,
    }
    types = "a BIGINT UNSIGNED, b BIGINT, c BOOLEAN, d DECIMAL(30, 9), e DATETIME(6), f DATE, g TIME(6), h FLOAT, i DOUBLE, j BLOB, k JSON, l INT"  # noqa: E501
    await maria.execute(f"CREATE TABLE typed ({types})")
    await maria.insert_many("typed", [values])
    for query, arguments in (("SELECT * FROM typed", {}), ("SELECT * FROM typed WHERE a > :n", {"n": 1})):
        row = await maria.fetch_one(query, arguments)
        assert row is not None
        assert dict(row) == values
    assert await maria.fetch_val("SELECT CAST(:t AS TIME)", {"t": time(1, 2, 3)}) == timedelta(
        hours=1, minutes=2, seconds=3
    )
    moment = datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert await maria.fetch_val("SELECT CAST(:t AS DATETIME)", {"t": moment}) == moment.replace(tzinfo=None)


async def test_values_without_a_type_are_refused_before_they_are_sent(maria: PooledDatabase) -> None:
    opened_until_now = maria.connections_opened
    async with maria.transaction():
        berlin = datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=1)))
        for value, message in (
            ([1], "a list is no value"),
            (2**64, "65 bits"),
            ("\ud800", "not valid Unicode"),
            (float("nan"), "nan is no number"),
            (Decimal("-Infinity"), "-Infinity is no number"),
            (Decimal("sNaN"), "sNaN is no number"),
            (berlin, "datetime with an offset"),
            (berlin.timetz(), "time with an offset"),
        ):
            with pytest.raises(errors.DataError, match=message):
                await maria.execute("INSERT INTO items (name) VALUES (:name)", {"name": value})
        await maria.execute("INSERT INTO items (name) VALUES ('a')")
    assert await maria.fetch_val("SELECT count(*) FROM items") == 1
    assert maria.connections_opened == opened_until_now
    check_arguments([None, 1, "a", b"a", 1.5, Decimal("1e400"), -(2**63)])


@pytest.mark.parametrize(("size", "kept"), [(1000, MAX_STATEMENTS), (3, 3), (0, 0)])
async def test_prepared_statements_are_bounded(mariadb_url: str, size: int, kept: int) -> None:
    async with opened(mariadb_url, max_size=1, statement_cache_size=size) as database:
        for number in range(MAX_STATEMENTS + 10):
            assert await database.fetch_val(f"SELECT {number} + :n", {"n": 1}) == number + 1
        assert await database.fetch_val("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'", column=1) == str(kept)
        async with database.connection() as session:
            assert len(session.raw_connection._statements) == kept


async def test_a_server_with_too_many_statements_is_served(mariadb_url: str, maria: PooledDatabase) -> None:
    async with maria.connection() as session:
        raw: MysqlConnection = session.raw_connection
        await raw.execute("SELECT ?", [1])
        prepare, refusals = (
            raw.prepare,
            [errors.OperationalError(1461, "Can't create more than max_prepared_stmt_count")],
        )

        async def refuse_once(sql: str) -> Any:
            if refusals:
                raise refusals.pop()
            return await prepare(sql)

        raw.prepare = refuse_once
        assert (await raw.execute("SELECT ? + 1", [1])).rows == ((2,),)
        assert list(raw._statements) == ["SELECT ? + 1"]


async def test_a_procedure_returns_its_first_rows(maria: PooledDatabase) -> None:
    await maria.execute("CREATE PROCEDURE two() BEGIN SELECT 1 AS a; SELECT 2 AS b; END")
    assert [dict(row) for row in await maria.fetch_all("CALL two()")] == [{"a": 1}]
    assert await maria.fetch_val("SELECT 3") == 3


async def test_the_password_is_not_sent_without_tls(connection: MysqlConnection) -> None:
    for plugin in (b"mysql_clear_password", b"dialog"):
        with pytest.raises(errors.OperationalError, match=r"asks for the password by .*, without TLS"):
            await connection._process_auth(plugin, None)


async def test_many_rows_are_sent_at_once_where_the_server_can(maria: PooledDatabase) -> None:
    insert = "INSERT INTO items (id, name) VALUES (:id, :name)"
    await maria.execute_many(insert, [{"id": n, "name": None if n % 2 else f"n{n}"} for n in range(1, 2501)])
    assert await maria.fetch_val("SELECT count(*) FROM items WHERE name = CONCAT('n', id)") == 1250
    assert await maria.fetch_val("SELECT count(*) FROM items") == 2500
    async with maria.connection() as session:
        raw: MysqlConnection = session.raw_connection
        sql = "UPDATE items SET name = ? WHERE id = ?"
        assert await raw.execute_bulk(sql, [("a", 1), ("b", 2)])
        assert not await raw.execute_bulk(sql, [("c", 1), (2.5, 2)]), "types differ"
        assert not await raw.execute_bulk(sql, [("\ud800", 1)])
        assert not await raw.execute_bulk("DELETE FROM items WHERE id = ? RETURNING id", [(1,)])
        assert not await raw.execute_bulk("SELECT ?", [(1,)])
        assert not await raw.execute_bulk("DELETE FROM items", [(), ()]), "no values"
        with pytest.raises(errors.DataError, match="65 bits"):
            await raw.execute_bulk(sql, [("c", 2**64)])
        raw._bulk_supported = False  # as with MySQL
        assert not await raw.execute_bulk(sql, [("c", 1)])
    rows: list[dict[str, Any]] = [{"id": 3, "name": "a text"}, {"id": 4, "name": 7}]
    await maria.execute_many("UPDATE items SET name = :name WHERE id = :id", rows)
    found = await maria.fetch_all("SELECT name FROM items WHERE id <= 4 ORDER BY id")
    assert [row.name for row in found] == ["a", "b", "a text", "7"]
    await maria.execute_many("DELETE FROM items", [{}, {}])
    assert await maria.fetch_val("SELECT count(*) FROM items") == 0


async def test_statements_of_several_rows_are_not_kept(connection: MysqlConnection, maria: PooledDatabase) -> None:
    kept = len(connection._statements)
    assert (await connection.execute_once("SELECT ? + 1", [1])).rows == ((2,),)
    assert len(connection._statements) == kept
