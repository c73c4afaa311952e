"""Mapped classes of the tests of ORM sessions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from scalekit_pool.database import PooledDatabase
from tests.pool.harness import wait_until_released


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: sa.JSON}


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(50), unique=True)
    books: Mapped[list[Book]] = relationship(back_populates="author", order_by="Book.id")


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(sa.String(50))
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(10, 2))
    details: Mapped[dict[str, Any] | None]
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("authors.id"))
    author: Mapped[Author] = relationship(back_populates="books")


async def create_tables(session: AsyncSession) -> None:
    connection = await session.connection()
    await connection.run_sync(Base.metadata.create_all)
    await session.commit()


@asynccontextmanager
async def shop(database: PooledDatabase) -> AsyncGenerator[AsyncSession, None]:
    """Return a session on *database*, which has the tables and one author with two books."""
    async with database.sessions() as session:
        await create_tables(session)
        books = [Book(title="one", price=Decimal("1.50"), details={"pages": [1]}), Book(title="two")]
        session.add(Author(name="anna", books=books))
        await session.commit()
    await wait_until_released(database)  # statements that define tables have its connection reset
    async with database.sessions() as session:
        yield session
