"""Migrations of MariaDB, where DDL cannot be rolled back."""

from __future__ import annotations

import asyncio

import pytest

from scalekit_pool.migrations.files import MigrationError
from scalekit_pool.migrations.runner import migrate
from tests.pool.migrations.harness import ADA, USERS, MigratedDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.needs("mariadb")]

PROCEDURE = """DELIMITER //
CREATE PROCEDURE fill()
BEGIN
    INSERT INTO users VALUES (2, 'it\\'s; "two"');
    INSERT INTO users VALUES (3, 'three');
END //
DELIMITER ;
CALL fill();
"""


async def test_a_file_without_ddl_is_applied_as_a_whole_or_not_at_all(mysql_target: MigratedDatabase) -> None:
    mysql_target.write("0001_create_users.sql", USERS)
    path = mysql_target.write("0002_add.sql", f"{ADA}-- and; '\n# \"\nINSERT INTO absent VALUES (1);")
    with pytest.raises(MigrationError) as caught:
        await mysql_target.migrate()
    assert str(caught.value).startswith(f"{path}:4: Table")
    assert str(caught.value).endswith("doesn't exist; nothing of this file was applied: fix it and migrate again")
    assert await mysql_target.rows("SELECT * FROM users") == []
    mysql_target.write("0002_add.sql", ADA)
    assert await mysql_target.migrate() == ["0002_add"]


async def test_a_file_that_failed_after_ddl_is_refused_until_it_is_put_right(mysql_target: MigratedDatabase) -> None:
    path = mysql_target.write("0001_create_users.sql", f"{USERS}{ADA}CREATE TABLE users (id INT);")
    with pytest.raises(MigrationError, match=rf"{path}:3: .*already exists; the statements before it are applied"):
        await mysql_target.migrate()
    assert await mysql_target.rows("SELECT name FROM users") == [("Ada",)]
    assert await mysql_target.pending() == ["0001_create_users"]
    with pytest.raises(MigrationError, match=rf"{path}: was applied in part: .*set its checksum to (\w+)$") as caught:
        await mysql_target.migrate()
    async with mysql_target.session() as session:
        await session.execute("UPDATE scalekit_migrations SET checksum = ?", str(caught.value).rsplit(" ", 1)[1])
    mysql_target.write("0002_more.sql", "CREATE TABLE more (id INT)")
    assert await mysql_target.migrate() == ["0002_more"]


async def test_the_first_statement_that_fails_leaves_nothing(mysql_target: MigratedDatabase) -> None:
    mysql_target.write("0001_create_users.sql", USERS)
    await mysql_target.migrate()
    path = mysql_target.write("0002_users.sql", USERS + ADA)
    with pytest.raises(MigrationError, match=rf"{path}:1: .*already exists; nothing of this file was applied"):
        await mysql_target.migrate()
    assert await mysql_target.recorded() == ["0001_create_users"]


async def test_a_procedure_is_one_statement(mysql_target: MigratedDatabase) -> None:
    mysql_target.write("0001_create_users.sql", USERS + PROCEDURE)
    await mysql_target.migrate()
    assert await mysql_target.rows("SELECT name FROM users ORDER BY id") == [('it\'s; "two"',), ("three",)]


async def test_an_error_shows_no_value_of_a_row(mysql_target: MigratedDatabase) -> None:
    mysql_target.write("0001_create_users.sql", USERS.replace("TEXT NOT NULL", "VARCHAR(20) UNIQUE"))
    mysql_target.write("0002_add.sql", "INSERT INTO users VALUES (1, 'secret'); INSERT INTO users VALUES (2, 'secret')")
    mysql_target.write("0003_add.sql", "INSERT INTO users VALUES ('secret', 'a')")
    for line in (": Duplicate entry for key", ": Incorrect integer value: for column"):
        with pytest.raises(MigrationError, match=line) as caught:
            await mysql_target.migrate()
        assert "secret" not in str(caught.value)
        mysql_target.write("0002_add.sql", "SELECT 1")


async def test_a_statement_beyond_the_limit_is_cancelled_and_may_be_applied(mysql_target: MigratedDatabase) -> None:
    path = mysql_target.write("0001_slow.sql", "SELECT SLEEP(600)")
    with pytest.raises(MigrationError, match=rf"{path}:1: not finished within 0.2 s; the statements before it"):
        await mysql_target.migrate(limit=0.2)
    mysql_target.write("0001_slow.sql", "SELECT SLEEP(0.6)")  # longer than statement_timeout of the connection
    with pytest.raises(MigrationError, match="was applied in part"):
        await mysql_target.migrate()


async def test_a_cancelled_migration_releases_the_lock(mysql_target: MigratedDatabase) -> None:
    mysql_target.write("0001_slow.sql", "SELECT SLEEP(600)")
    async with mysql_target.session() as session:
        task = asyncio.create_task(migrate(session, mysql_target.directory))
        active = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'"
        while not await mysql_target.rows(active):
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(MigrationError, match="was applied in part"):
        await mysql_target.migrate()
