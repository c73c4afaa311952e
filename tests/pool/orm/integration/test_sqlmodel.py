"""SQLModel's sessions on the connections of the pool."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast

import pytest
from fastapi import Depends, FastAPI
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from scalekit import create_app
from scalekit.contracts import DATABASE, SESSION
from scalekit.testing import request, running
from scalekit_pool.database import PooledDatabase
from tests.pool.harness import opened, wait_until_released

pytestmark = pytest.mark.anyio

SQLMODEL = "sqlmodel.ext.asyncio.session:AsyncSession"


class Hero(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True, max_length=50)


RequestSession = Annotated[AsyncSession, Depends(SESSION)]
app = FastAPI()


@app.post("/heroes")
async def add(hero: Hero, session: RequestSession) -> Hero:
    session.add(hero)
    await session.commit()
    await session.refresh(hero)
    return hero


@app.get("/heroes")
async def heroes(session: RequestSession) -> list[Hero]:
    return [*(await session.exec(select(Hero).order_by(col(Hero.name))))]


@asynccontextmanager
async def tables(database: PooledDatabase) -> AsyncGenerator[AsyncSession, None]:
    async with cast(AsyncSession, database.sessions()) as session:
        connection = await session.connection()
        await connection.run_sync(SQLModel.metadata.create_all)
        await session.commit()
        yield session


async def test_exec_returns_objects_and_follows_the_server_of_the_session(url: str) -> None:
    async with opened(url, session_class=SQLMODEL, max_size=4) as database, tables(database) as session:
        session.add(Hero(name="anna"))
        await session.commit()
        session.info["scalekit_server"] = "primary"
        hero = (await session.exec(select(Hero))).one()
        assert (hero.id, hero.name) == (1, "anna")
        session.info["scalekit_server"] = "secondary"
        await session.rollback()
        with pytest.raises(ValueError, match="unknown scalekit_server"):
            await session.exec(select(Hero.name))


async def test_a_request_gets_a_session_of_sqlmodel(url: str) -> None:
    host = create_app({"plugins": {"pool": {"url": url, "session_class": SQLMODEL}}}, app=app)
    async with running(host) as state:
        database: Any = host.context.get(DATABASE)
        async with tables(database):
            pass
        headers = {"content-type": "application/json"}
        sent = await request(host, "/heroes", method="POST", body=b'{"name": "anna"}', headers=headers, state=state)
        assert json.loads(sent.body) == {"id": 1, "name": "anna"}
        assert json.loads((await request(host, "/heroes", state=state)).body) == [{"id": 1, "name": "anna"}]
        await wait_until_released(database)
