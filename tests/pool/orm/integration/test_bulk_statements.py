"""Many rows at once, and whether the numbers of changed rows are right."""

from __future__ import annotations

from typing import Any, cast

import pytest
from sqlalchemy import CursorResult, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm.exc import StaleDataError

from scalekit_pool.database import PooledDatabase
from tests.pool.orm.company import Account, Engineer, Manager, Person, Task, company

pytestmark = pytest.mark.anyio


async def test_many_rows_are_inserted_by_one_statement(database: PooledDatabase) -> None:
    async with company(database) as session:
        rows = [{"id": number, "balance": number, "version": 1} for number in range(10, 1010)]
        await session.execute(insert(Account), rows)
        assert await session.scalar(select(func.count()).select_from(Account)) == 1002
        returned = await session.scalars(
            insert(Manager).returning(Manager, sort_by_parameter_order=True),
            [{"name": f"name {number}", "budget": number} for number in range(50)],
        )
        assert [(each.name, each.budget) for each in returned] == [(f"name {number}", number) for number in range(50)]
        await session.execute(insert(Task).values([{"person_id": 1, "number": 7, "text": "a"}]))
        await session.commit()
        assert await session.scalar(select(func.count()).select_from(Manager)) == 51


async def test_bulk_methods_of_the_synchronous_session(database: PooledDatabase) -> None:
    async with company(database) as session:
        rows = [{"id": number, "balance": 1} for number in range(10, 110)]
        await session.run_sync(lambda sync: sync.bulk_insert_mappings(Account.__mapper__, rows))
        changes = [{"id": number, "version": 1, "balance": 2} for number in range(10, 110)]
        await session.run_sync(lambda sync: sync.bulk_update_mappings(Account.__mapper__, changes))
        await session.run_sync(lambda sync: sync.bulk_save_objects([Account(id=200, balance=2)]))
        await session.commit()
        assert await session.scalar(select(func.count()).where(Account.balance == 2)) == 101


@pytest.mark.parametrize("method", ["auto", "evaluate", "fetch", False])
async def test_statements_change_the_objects_of_the_session(database: PooledDatabase, method: str | bool) -> None:
    async with company(database) as session:
        anna = (await session.scalars(select(Engineer))).one()
        how = {"synchronize_session": method}
        result = await session.execute(
            update(Person).where(Person.name == "anna").values(city="Rome"), None, execution_options=how
        )
        assert cast(CursorResult[Any], result).rowcount == 1
        assert anna.city == ("Berlin" if method is False else "Rome")
        tasks = (await session.scalars(select(Task))).all()
        gone = await session.execute(delete(Task).where(Task.number == 1), None, execution_options=how)
        assert cast(CursorResult[Any], gone).rowcount == 1
        assert [task in session for task in tasks] == [method is False, True]
        await session.rollback()


async def test_an_update_by_primary_key_changes_each_row(database: PooledDatabase) -> None:
    async with company(database) as session:
        await session.execute(update(Task), [{"person_id": 1, "number": number, "text": "x"} for number in (1, 2)])
        connection = await session.connection()
        table = Task.__table__
        statement = update(Task).where(table.c.number == bindparam("which")).values(text="y")
        result = await connection.execute(statement, [{"which": 1}, {"which": 2}])
        assert result.rowcount == (-1 if database.dialect == "postgresql" else 2)
        await session.commit()
        assert (await session.scalars(select(Task.text))).all() == ["y", "y"]


async def test_a_change_of_an_outdated_version_is_refused(database: PooledDatabase) -> None:
    async with company(database) as session:
        accounts = (await session.scalars(select(Account).order_by(Account.id))).all()
        async with database.sessions() as other, other.begin():
            (await other.get_one(Account, 2)).balance = 50
        for account in accounts:
            account.balance -= 1
        with pytest.raises(StaleDataError):
            await session.commit()
        await session.rollback()
        assert (await session.scalars(select(Account.balance).order_by(Account.id))).all() == [100, 50]
        await session.delete(await session.get_one(Account, 1))
        async with database.sessions() as other, other.begin():
            if database.dialect == "sqlite":
                await other.execute(update(Account).where(Account.id == 1).values(balance=7))
        await session.commit()


async def test_a_violated_constraint_is_an_integrity_error_of_a_flush(database: PooledDatabase) -> None:
    async with company(database) as session:
        (await session.get_one(Account, 1)).balance = -5
        # asyncmy knows no class of MariaDB's error.
        with pytest.raises(OperationalError if database.dialect == "mysql" else IntegrityError):
            await session.flush()
        await session.rollback()
        assert await session.scalar(select(Account.balance).where(Account.id == 1)) == 100
