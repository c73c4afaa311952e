"""The tables of the service, which `migrations` create."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, MetaData, Table, Text

metadata = MetaData()

items = Table(
    "items",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("name", Text, nullable=False),
    Column("value", Float, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("active", Boolean, nullable=False),
)

profiles = Table(
    "profiles",
    metadata,
    Column("user_id", BigInteger, ForeignKey(users.c.id), primary_key=True),
    Column("name", Text, nullable=False),
    Column("avatar", Text),
)
