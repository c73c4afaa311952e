"""The methods of READS, and the server that each runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, select, text

from scalekit import ReadOnlyError
from scalekit.contracts import CONSISTENCY, CONSISTENCY_TOKENS, DATABASE, READS, Consistency, Database, Statements
from tests.replica.conftest import Cluster
from tests.replica.shop import READ, TABLE, WRITE, Client, Instance, shop, wait_until

pytestmark = pytest.mark.anyio

STOCK = Table("stock", MetaData(), Column("id", Integer, primary_key=True), Column("amount", Integer))
SERVER = "SELECT inet_server_port()"


@asynccontextmanager
async def routed(cluster: Cluster, **table: Any) -> AsyncGenerator[tuple[Instance, Database, Statements], None]:
    async with shop({"url": cluster.primary.url}, {"urls": cluster.urls, **table}) as instance:
        CONSISTENCY.set(Consistency())
        yield instance, instance.host.context.get(DATABASE), instance.host.context.get(READS)


@pytest.mark.needs("postgres")
class TestWithReplicas:
    async def test_all_read_methods_run_on_replicas(self, shared_cluster: Cluster) -> None:
        async with routed(shared_cluster) as (_, database, reads):
            await database.execute_many(WRITE, [{"id": number, "amount": number} for number in range(250)])
            await asyncio.to_thread(shared_cluster.wait_until_replayed)
            CONSISTENCY.set(Consistency())
            ports = {replica.port for replica in shared_cluster.replicas}
            assert await reads.fetch_val(SERVER) in ports
            assert (await reads.fetch_val(READ, {"id": 7})) == 7
            row = await reads.fetch_one("SELECT inet_server_port() AS port")
            assert row is not None
            assert row.port in ports
            assert len(await reads.fetch_all("SELECT id FROM stock WHERE id < 250")) == 250
            assert len([row async for row in reads.iterate("SELECT id FROM stock WHERE id < 250")]) == 250
            assert [row.id async for row in reads.iterate("SELECT id FROM stock WHERE id < 0")] == []
            assert await reads.select(STOCK, "amount", where=STOCK.c.id == 9) == [{"amount": 9}]
            assert await reads.fetch_val(select(STOCK.c.amount).where(STOCK.c.id == 8)) == 8

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT inet_server_port() FROM stock WHERE id = 1 FOR UPDATE",
            "SELECT inet_server_port(), pg_advisory_xact_lock(1)",
            "SELECT inet_server_port(), nextval('numbers')",
            "WITH gone AS (DELETE FROM stock WHERE id = -1 RETURNING id) SELECT inet_server_port()",
            "UPDATE stock SET amount = 1 WHERE id = 1 RETURNING inet_server_port()",
            "SELECT port FROM counting",  # the view hides its function: only the replica can detect the write
        ],
    )
    async def test_statements_that_may_write_run_on_the_primary(self, shared_cluster: Cluster, statement: str) -> None:
        primary = shared_cluster.primary
        primary.sql("CREATE SEQUENCE IF NOT EXISTS numbers")
        view = "SELECT inet_server_port() AS port, nextval('numbers') AS number"
        primary.sql(f"CREATE OR REPLACE VIEW counting AS {view}")
        primary.sql("INSERT INTO stock VALUES (1, 1) ON CONFLICT DO NOTHING")
        await asyncio.to_thread(shared_cluster.wait_until_replayed)
        async with routed(shared_cluster) as (instance, _, reads):
            assert await reads.fetch_val(statement) == primary.port
            assert (await instance.metric("fallbacks_total"))["statement"] == 1
            assert sum((await instance.metric("ejections_total")).values()) == 0

    async def test_reads_in_an_outer_transaction_see_its_uncommitted_writes(self, shared_cluster: Cluster) -> None:
        read = text("SELECT amount FROM stock WHERE id = 290")
        async with routed(shared_cluster) as (_, database, reads), database.outer_transaction():
            await database.execute(WRITE, {"id": 290, "amount": 5})
            assert await reads.fetch_val(READ, {"id": 290}) == 5
            async with reads.transaction(readonly=True), database.sessions() as session:
                assert await reads.fetch_val(READ, {"id": 290}) == 5
                assert await session.scalar(read) == 5

    async def test_a_transaction_reads_one_snapshot_on_one_replica(self, shared_cluster: Cluster) -> None:
        async with routed(shared_cluster) as (_, database, reads):
            await database.execute(WRITE, {"id": 300, "amount": 1})
            await asyncio.to_thread(shared_cluster.wait_until_replayed)
            CONSISTENCY.set(Consistency())
            for _ in range(10):
                async with reads.transaction(readonly=True, isolation="repeatable_read"):
                    port = await reads.fetch_val(SERVER)
                    before = await reads.fetch_val(READ, {"id": 300})
                    await asyncio.create_task(database.execute(WRITE, {"id": 300, "amount": before + 1}))
                    await asyncio.to_thread(shared_cluster.wait_until_replayed)
                    assert await reads.fetch_val(READ, {"id": 300}) == before
                    assert [row[0] async for row in reads.iterate(SERVER)] == [port]
                    with pytest.raises(ReadOnlyError):
                        await reads.fetch_val("SELECT nextval('numbers')")
                assert port != shared_cluster.primary.port
                CONSISTENCY.set(Consistency())

    async def test_serializable_transactions_run_on_the_primary(self, shared_cluster: Cluster) -> None:
        async with (
            routed(shared_cluster) as (_, _, reads),
            reads.transaction(readonly=True, isolation="serializable"),
        ):
            assert await reads.fetch_val(SERVER) == shared_cluster.primary.port

    async def test_after_a_write_the_request_reads_from_the_primary(self, slow_cluster: Cluster) -> None:
        async with routed(slow_cluster) as (_, database, reads):
            async with database.transaction():
                await database.execute(WRITE, {"id": 400, "amount": 1})
                assert await reads.fetch_val(READ, {"id": 400}) == 1
                await database.insert_many(STOCK, [{"id": 401, "amount": 2}])
                assert await reads.fetch_val(READ, {"id": 401}) == 2
            CONSISTENCY.set(Consistency())
            await database.insert_soon(STOCK, {"id": 402, "amount": 3})
            assert await reads.fetch_val(READ, {"id": 402}) == 3
            CONSISTENCY.set(Consistency())
            update = "UPDATE stock SET amount = amount + 1 WHERE id = 402 RETURNING amount"
            slow_cluster.primary.sql(f"CREATE FUNCTION more() RETURNS integer LANGUAGE sql AS '{update}'")
            assert [row[0] async for row in database.iterate("SELECT more()")] == [4]
            assert await reads.fetch_val(READ, {"id": 402}) == 4
            CONSISTENCY.set(Consistency())
            async with database.connection() as connection:
                await connection.raw_connection.execute("INSERT INTO stock VALUES (403, 4)")
            assert await reads.fetch_val(READ, {"id": 403}) == 4

    async def test_without_a_consistency_context_reads_go_to_the_primary(self, shared_cluster: Cluster) -> None:
        async with routed(shared_cluster) as (instance, _, reads):
            CONSISTENCY.set(None)
            assert await reads.fetch_val(SERVER) == shared_cluster.primary.port
            assert (await instance.metric("fallbacks_total"))["unknown"] == 1

    async def test_reads_are_shared_by_weight(self, shared_cluster: Cluster) -> None:
        async with routed(shared_cluster, weights=[1, 9]) as (instance, _, reads):
            for _ in range(500):
                await reads.fetch_val("SELECT 1")
            light, heavy = [
                (await instance.metric("reads_total"))[f"127.0.0.1:{replica.port}"]
                for replica in shared_cluster.replicas
            ]
            assert light + heavy == 500
            assert 0 < light < 150 < heavy, "1 + 8 of 100 at most, where the light one is always the quicker"

    async def test_a_wal_switch_leaves_an_idle_replica_without_lag(self, shared_cluster: Cluster) -> None:
        async with routed(shared_cluster) as (instance, database, reads):
            await database.execute(WRITE, {"id": 500, "amount": 1})
            shared_cluster.primary.sql("SELECT pg_switch_wal()")
            consistency = CONSISTENCY.get()
            assert consistency is not None
            await instance.host.context.get(CONSISTENCY_TOKENS).issue(consistency)
            await asyncio.to_thread(shared_cluster.wait_until_replayed)
            assert await reads.fetch_val(SERVER) != shared_cluster.primary.port

    async def test_every_caller_of_a_batched_insert_counts_as_having_written(self, shared_cluster: Cluster) -> None:
        async def insert(number: int) -> bool:
            consistency = Consistency()
            CONSISTENCY.set(consistency)
            await database.insert_soon(STOCK, {"id": number, "amount": 1})
            return consistency.wrote

        async with routed(shared_cluster) as (_, database, _):
            assert all(await asyncio.gather(*(insert(number) for number in range(600, 610))))


async def test_without_replicas_reads_run_on_the_primary_and_writes_are_refused() -> None:
    async with shop({"url": "sqlite:///:memory:"}, {}) as instance:
        database, reads = instance.host.context.get(DATABASE), instance.host.context.get(READS)
        await database.execute(TABLE)
        response = await Client([instance]).write(1, 5)
        assert response.body == b"5"
        assert response.header("set-cookie") is None
        assert await reads.fetch_val(READ, {"id": 1}) == 5
        assert [row.amount async for row in reads.iterate(READ, {"id": 1})] == [5]
        async with reads.transaction(readonly=True):
            assert await reads.select(STOCK, "amount") == [{"amount": 5}]
        await refuses_writes(reads)


async def refuses_writes(reads: Statements) -> None:
    with pytest.raises(ReadOnlyError, match=r"DATABASE\(request\)\.execute\(\)"):
        await reads.execute(WRITE, {"id": 1, "amount": 1})
    with pytest.raises(ReadOnlyError, match=r"DATABASE\(request\)\.execute_many\(\)"):
        await reads.execute_many(WRITE, [{"id": 1, "amount": 1}])
    with pytest.raises(ReadOnlyError, match=r"DATABASE\(request\)\.insert_many\(\)"):
        await reads.insert_many(STOCK, [{"id": 1, "amount": 1}])
    with pytest.raises(ReadOnlyError, match=r"transaction\(readonly=True\)"):
        reads.transaction()


async def test_copies_of_a_sqlite_file_are_read_by_time(tmp_path: Path) -> None:
    url, copy = f"sqlite:///{tmp_path}/shop.db", tmp_path / "copy.db"
    async with shop({"url": url}, {}) as instance:
        database = instance.host.context.get(DATABASE)
        await database.execute(TABLE)
        await database.execute(WRITE, {"id": 1, "amount": 1})
        await database.execute("VACUUM INTO :copy", {"copy": str(copy)})
    replica = {"urls": [f"sqlite:///{copy}"], "primary_after_write": "500ms"}
    async with shop({"url": url}, replica) as instance:
        client, stranger = Client([instance]), Client([instance])
        assert (await client.write(1, 2)).body == b"2"
        assert (await client.read(1)).body == b"2"
        assert (await stranger.read(1)).body == b"1"
        assert (await instance.metric("fallbacks_total"))["recent_write"] == 1

        async def reads_the_copy() -> bool:
            return (await client.read(1)).body == b"1"

        await wait_until("the end of primary_after_write", reads_the_copy)
        reads = instance.host.context.get(READS)
        await refuses_writes(reads)
        CONSISTENCY.set(Consistency())
        async with reads.transaction(readonly=True):
            assert await reads.fetch_val(READ, {"id": 1}) == 1
