"""The tables of the service, which `migrations` create: items for Core, users and profiles as models of the ORM."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, MetaData, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

metadata = MetaData()

items = Table(
    "items",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("value", Float, nullable=False),
)


class Model(DeclarativeBase):
    """The base of all models."""

    metadata = metadata


class User(Model):
    """A user."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    email: Mapped[str] = mapped_column(Text, unique=True)
    active: Mapped[bool]
    profile: Mapped[Profile | None] = relationship(lazy="raise")


class Profile(Model):
    """The name and the picture of a user."""

    __tablename__ = "profiles"

    user_id: Mapped[int] = mapped_column(ForeignKey(User.id), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    avatar: Mapped[str | None] = mapped_column(Text)
