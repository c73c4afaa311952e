"""ORM sessions read from replicas until their first write, and never less than their client has written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit.contracts import CONSISTENCY, DATABASE, SESSION, Consistency, Database
from tests.replica.conftest import Cluster
from tests.replica.shop import Client, Instance, Stock, shop, wait_until

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.anyio]

SERVER = select(func.inet_server_port())


async def put(request: Request) -> Response:
    session = SESSION(request)
    await session.merge(Stock(id=int(request.path_params["id"]), amount=int(request.query_params["amount"])))
    await session.commit()
    return await get(request)


async def get(request: Request) -> Response:
    """Return the amount, and the port of the server that it was read from."""
    session, item = SESSION(request), int(request.path_params["id"])
    amount, port = (await session.execute(select(Stock.amount, SERVER.scalar_subquery()).where(Stock.id == item))).one()
    return PlainTextResponse(f"{amount} {port}")


ROUTES = [Route("/sessions/{id}", put, methods=["PUT"]), Route("/sessions/{id}", get)]


@asynccontextmanager
async def routed(cluster: Cluster) -> AsyncGenerator[tuple[Instance, Database, AsyncSession], None]:
    async with shop({"url": cluster.primary.url}, {"urls": cluster.urls}) as instance:
        database = instance.host.context.get(DATABASE)
        CONSISTENCY.set(Consistency())
        async with database.sessions() as session:
            yield instance, database, session


async def test_a_session_reads_from_one_replica_until_its_first_write(shared_cluster: Cluster) -> None:
    primary, replicas = shared_cluster.primary.port, {replica.port for replica in shared_cluster.replicas}
    async with routed(shared_cluster) as (_, database, session):
        found = set()
        for _ in range(20):
            ports = {await session.scalar(SERVER) for _ in range(3)}
            assert len(ports) == 1
            found |= ports
            await session.rollback()
        assert found == replicas
        await session.merge(Stock(id=700, amount=1))
        with session.no_autoflush:
            assert await session.scalar(SERVER) in replicas
        await session.flush()
        assert await session.scalar(SERVER) == primary
        await session.commit()
        assert await session.scalar(SERVER) == primary, "the position of the write is not known"
        await asyncio.to_thread(shared_cluster.wait_until_replayed)
        CONSISTENCY.set(Consistency())
        async with database.sessions() as other:
            assert await other.scalar(SERVER) in replicas
            assert (await other.get_one(Stock, 700)).amount == 1
            await other.execute(select(Stock).with_for_update())
            assert await other.scalar(SERVER) == primary


async def test_the_server_can_be_chosen(slow_cluster: Cluster) -> None:
    primary, replicas = slow_cluster.primary.port, {replica.port for replica in slow_cluster.replicas}
    async with routed(slow_cluster) as (_, database, session):
        assert await session.scalar(SERVER, execution_options={"scalekit_server": "primary"}) == primary
        assert await session.scalar(SERVER) in replicas
        session.add(Stock(id=1, amount=1))
        await session.commit()
        assert await session.scalar(SERVER, execution_options={"scalekit_server": "replica"}) in replicas
        with pytest.raises(ValueError, match="unknown scalekit_server 'other': use 'primary' or 'replica'"):
            await session.scalar(SERVER, execution_options={"scalekit_server": "other"})
        for server, ports in (("primary", {primary}), ("replica", replicas)):
            async with database.sessions() as chosen:
                chosen.info["scalekit_server"] = server
                assert await chosen.scalar(SERVER) in ports
        CONSISTENCY.set(None)
        async with database.sessions() as outside:
            assert await outside.scalar(SERVER) == primary


async def test_a_read_that_a_replica_refuses_runs_on_the_primary(shared_cluster: Cluster) -> None:
    shared_cluster.primary.sql("CREATE SEQUENCE IF NOT EXISTS numbers")
    view = "SELECT inet_server_port() AS port, nextval('numbers') AS number"
    shared_cluster.primary.sql(f"CREATE OR REPLACE VIEW counted AS {view}")
    await asyncio.to_thread(shared_cluster.wait_until_replayed)
    async with routed(shared_cluster) as (_, _, session):
        assert await session.scalar(text("SELECT port FROM counted")) == shared_cluster.primary.port


async def test_a_session_reads_what_its_client_wrote_while_replicas_are_late(slow_cluster: Cluster) -> None:
    pool, replica = {"url": slow_cluster.primary.url}, {"urls": slow_cluster.urls}
    primary = slow_cluster.primary.port
    async with shop(pool, replica, ROUTES) as first, shop(pool, replica, ROUTES) as second:
        client = Client([first, second])
        for amount in range(20):
            written = await client.send(f"/sessions/5?amount={amount}", "PUT")
            assert written.body.decode() == f"{amount} {primary}"
            assert (await client.send("/sessions/5")).body.decode().split()[0] == str(amount)

        async def is_on_replica() -> bool:
            amount, port = (await client.send("/sessions/5")).body.decode().split()
            assert amount == "19"
            return int(port) != primary

        await wait_until("a read on a replica", is_on_replica)
