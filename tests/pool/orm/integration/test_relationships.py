"""Relationships, inheritance and values made by the server, loaded in each way that SQLAlchemy offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, joinedload, selectin_polymorphic, selectinload, subqueryload, with_polymorphic

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import all_released
from tests.pool.orm.company import Engineer, Manager, Person, Task, company

pytestmark = pytest.mark.anyio


async def anna_of(session: AsyncSession, *options: Any) -> Engineer:
    return (await session.scalars(select(Engineer).options(*options))).unique().one()


async def test_a_lazy_load_needs_an_await(database: PooledDatabase) -> None:
    async with company(database) as session:
        anna = await anna_of(session)
        with pytest.raises(MissingGreenlet):
            _ = anna.tasks
        assert all_released(database)
        assert [task.text for task in await anna.awaitable_attrs.tasks] == ["plan", "build"]
        assert [task.text for task in anna.tasks] == ["plan", "build"]


@pytest.mark.parametrize("load", [selectinload, joinedload, subqueryload])
async def test_a_relationship_is_loaded_with_its_objects(database: PooledDatabase, load: Callable[..., Any]) -> None:
    async with company(database) as session:
        people = (await session.scalars(select(Person).options(load(Person.tasks)).order_by(Person.id))).unique().all()
        assert [[task.text for task in person.tasks] for person in people] == [["plan", "build"], []]
        assert all_released(database)


async def test_polymorphic_objects_have_the_columns_of_their_class(database: PooledDatabase) -> None:
    async with company(database) as session:
        loading = selectin_polymorphic(Person, [Engineer, Manager])
        anna, bob = (await session.scalars(select(Person).options(loading).order_by(Person.id))).all()
        assert isinstance(anna, Engineer)
        assert isinstance(bob, Manager)
        assert (anna.language, bob.budget) == ("Python", 10)
    async with database.sessions() as session:
        both = with_polymorphic(Person, "*")
        found = (await session.scalars(select(both).order_by(both.id))).all()
        assert [type(each) for each in found] == [Engineer, Manager]
        assert getattr(found[1], "budget", None) == 10
    async with database.sessions() as session:
        person = (await session.scalars(select(Person).order_by(Person.id).limit(1))).one()
        assert await person.awaitable_attrs.language == "Python"


async def test_cascades_delete_dependent_rows_and_orphans(database: PooledDatabase) -> None:
    async with company(database) as session:
        anna = await anna_of(session, selectinload(Person.tasks))
        del anna.tasks[0]
        await session.commit()
        assert (await session.scalars(select(Task.text))).all() == ["build"]
        await session.delete(anna)
        await session.commit()
        assert await session.scalar(select(func.count()).select_from(Task)) == 0
        assert (await session.scalars(select(Person.name))).all() == ["bob"]


async def test_a_hybrid_property_is_computed_by_both_sides(database: PooledDatabase) -> None:
    async with company(database) as session:
        anna = (await session.scalars(select(Person).where(Person.initial == "a"))).one()
        assert anna.initial == "a"


async def test_values_of_the_server_return_with_the_insert(database: PooledDatabase) -> None:
    async with company(database) as session:
        session.add(carl := Manager(name="carl", budget=func.coalesce(None, 5)))
        await session.flush()
        assert await carl.awaitable_attrs.city == "Berlin"
        assert await carl.awaitable_attrs.budget == 5
        await session.commit()


async def test_refresh_merge_and_composite_keys(database: PooledDatabase) -> None:
    async with company(database) as session:
        anna = await anna_of(session)
        async with database.sessions() as other, other.begin():
            (await anna_of(other)).city = "Paris"
            merged = await other.merge(Task(person_id=anna.id, number=2, text="test"))
            assert merged.text == "test"
            await other.merge(Task(person_id=anna.id, number=3, text="ship"))
        assert anna.city == "Berlin"
        await session.refresh(anna, ["city", "tasks"])
        assert anna.city == "Paris"
        assert [task.text for task in anna.tasks] == ["plan", "test", "ship"]
        task = await session.get_one(Task, (anna.id, 3))
        assert task is anna.tasks[2]


async def test_expired_objects_load_again(database: PooledDatabase) -> None:
    async with company(database, expire_on_commit=True) as session:
        anna = await anna_of(session)
        await session.commit()
        with pytest.raises(MissingGreenlet):
            _ = anna.city
        assert await anna.awaitable_attrs.city == "Berlin"


async def test_events_run_inside_the_transaction(database: PooledDatabase) -> None:
    async with company(database) as session:
        seen: list[str] = []

        @event.listens_for(session.sync_session, "before_flush")
        def count(sync: Session, *_: object) -> None:
            seen.append(f"{sync.scalar(select(func.count()).select_from(Person))} people")

        event.listen(session.sync_session, "after_commit", lambda _: seen.append("commit"))
        event.listen(session.sync_session, "after_rollback", lambda _: seen.append("rollback"))
        session.add(Manager(name="carl", budget=1))
        await session.commit()
        session.add(Manager(name="dora", budget=1))
        await session.flush()
        await session.rollback()
        assert seen == ["2 people", "commit", "3 people", "rollback"]


async def test_run_sync_runs_code_that_does_not_await(database: PooledDatabase) -> None:
    def rename(session: Session) -> list[str]:
        anna = session.scalars(select(Engineer)).one()
        anna.name = "ann"
        session.commit()
        return [task.text for task in anna.tasks]

    async with company(database) as session:
        assert await session.run_sync(rename) == ["plan", "build"]
        assert await session.scalar(select(Engineer.name)) == "ann"
