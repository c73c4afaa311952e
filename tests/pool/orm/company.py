"""Mapped classes with inheritance, cascades, versions, composite keys, and values that the server makes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import wait_until_released


class Base(AsyncAttrs, DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(20))
    name: Mapped[str] = mapped_column(sa.String(50))
    city: Mapped[str] = mapped_column(sa.String(50), server_default="Berlin")
    tasks: Mapped[list[Task]] = relationship(cascade="all, delete-orphan", order_by="Task.number")
    __mapper_args__ = {"polymorphic_identity": "person", "polymorphic_on": "kind"}

    @hybrid_property
    def initial(self) -> str:
        return self.name[0]

    @initial.inplace.expression
    @classmethod
    def _initial_of(cls) -> sa.ColumnElement[str]:
        return sa.func.substr(cls.name, 1, 1)


class Engineer(Person):
    __tablename__ = "engineers"
    id: Mapped[int] = mapped_column(sa.ForeignKey("people.id"), primary_key=True)
    language: Mapped[str] = mapped_column(sa.String(20))
    __mapper_args__ = {"polymorphic_identity": "engineer"}


class Manager(Person):
    __tablename__ = "managers"
    id: Mapped[int] = mapped_column(sa.ForeignKey("people.id"), primary_key=True)
    budget: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "manager"}


class Task(Base):
    __tablename__ = "tasks"
    person_id: Mapped[int] = mapped_column(sa.ForeignKey("people.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(sa.String(50))


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    balance: Mapped[int] = mapped_column(sa.Integer, sa.CheckConstraint("balance >= 0"))
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}


async def fill(database: PooledDatabase) -> None:
    """Create the tables, an engineer with two tasks, a manager, and two accounts."""
    async with database.sessions() as session:
        connection = await session.connection()
        await connection.run_sync(Base.metadata.create_all)
        tasks = [Task(number=1, text="plan"), Task(number=2, text="build")]
        session.add(Engineer(name="anna", language="Python", tasks=tasks))
        await session.flush()
        session.add_all([Manager(name="bob", budget=10), Account(id=1, balance=100), Account(id=2, balance=100)])
        await session.commit()
    await wait_until_released(database)  # statements that define tables have its connection reset


@asynccontextmanager
async def company(database: PooledDatabase, **options: Any) -> AsyncGenerator[AsyncSession, None]:
    """Return a session on *database* with the rows of :func:`fill`, which has released everything at the end."""
    await fill(database)
    async with database.sessions(**options) as session:
        yield session
    await wait_until_released(database)
