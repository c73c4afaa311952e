"""Responses to clients while servers are killed, hang, lag and fail over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scalekit.contracts import CONSISTENCY, DATABASE, READS, Consistency, Database
from tests.replica.conftest import Cluster
from tests.replica.shop import WRITE, Client, Instance, shop, wait_until
from tests.servers import Postgres

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.anyio]

READERS = 20


def address(server: Postgres) -> str:
    return f"127.0.0.1:{server.port}"


async def is_up(instance: Instance, server: Postgres) -> bool:
    return (await instance.metric("up"))[address(server)] == 1


async def is_excluded(instance: Instance, server: Postgres) -> bool:
    return not await is_up(instance, server)


async def all_are_excluded(instance: Instance) -> bool:
    return not any((await instance.metric("up")).values())


async def wait_for_reads(instance: Instance, server: Postgres) -> None:
    """Wait until *server* serves another read."""
    before = (await instance.metric("reads_total"))[address(server)]

    async def grown() -> bool:
        return (await instance.metric("reads_total"))[address(server)] > before

    await wait_until(f"reads on {server.name}", grown)


@dataclass(frozen=True, slots=True)
class Load:
    """The number of responses by status, and of responses to reads by client."""

    statuses: Counter[int]
    reads: Counter[int]

    async def every_client_reads_again(self) -> None:
        """Wait until each client gets another response."""
        before = self.reads.copy()
        await wait_until("reads", lambda: all(self.reads[item] > before[item] for item in range(READERS)))


@asynccontextmanager
async def load(instance: Instance, *, writing: bool = False) -> AsyncGenerator[Load, None]:
    """Read continuously while inside, and check each value."""
    load = Load(Counter(), Counter())
    done = asyncio.Event()

    async def use(item: int) -> None:
        client, amount = Client([instance]), 0
        while not done.is_set():
            if writing and item % 4 == 0:
                load.statuses[(await client.write(item, amount + 1)).status] += 1
                amount += 1
            response = await client.read(item)
            load.statuses[response.status] += 1
            load.reads[item] += 1
            if response.status == 200:
                assert response.body == (b"%d" % amount if amount else b"None")
            await asyncio.sleep(0.001)

    async with asyncio.TaskGroup() as tasks:
        for item in range(READERS):
            tasks.create_task(use(item))
        try:
            yield load
        finally:
            done.set()


async def health_error(instance: Instance, server: Postgres) -> str:
    """Return the error of the check of *server*, empty when it passes."""
    await instance.host.monitor.check_once()
    return instance.host.monitor.results[f"replica.{address(server)}"].last_error


async def has_error(instance: Instance, server: Postgres, words: str) -> bool:
    return words in await health_error(instance, server)


async def test_clients_do_not_notice_a_killed_replica_and_it_returns(cluster: Cluster) -> None:
    one, two = cluster.replicas
    async with shop({"url": cluster.primary.url}, {"urls": cluster.urls}) as instance:
        async with load(instance, writing=True) as clients:
            await wait_for_reads(instance, one)
            await asyncio.to_thread(one.kill)
            await wait_until("the ejection", lambda: is_excluded(instance, one))
            await wait_until("the reason", lambda: has_error(instance, one, f"nothing listens at {address(one)}"))
            await wait_for_reads(instance, two)
            await asyncio.to_thread(one.start)
            await wait_until("the return", lambda: is_up(instance, one))
            await wait_for_reads(instance, one)
        assert set(clients.statuses) == {200}
        assert (await instance.metric("ejections_total"))[address(one)] >= 1


async def test_reads_in_flight_on_a_hanging_replica_are_aborted_and_retried(cluster: Cluster) -> None:
    one, _ = cluster.replicas
    pool = {"url": cluster.primary.url}
    async with shop(pool, {"urls": cluster.urls, "check_timeout": "500ms"}) as instance:
        async with load(instance) as clients:
            await wait_for_reads(instance, one)
            one.pause()
            await wait_until("the ejection", lambda: is_excluded(instance, one))
            assert (await instance.metric("aborted_reads_total"))[address(one)] > 0
            await clients.every_client_reads_again()
            assert "no response within check_timeout 0.5s" in await health_error(instance, one)
            one.resume()
            await wait_until("the return", lambda: is_up(instance, one))
            await wait_for_reads(instance, one)
        assert set(clients.statuses) == {200}


async def test_reads_go_to_the_primary_when_all_replicas_are_unavailable(cluster: Cluster) -> None:
    async with shop({"url": cluster.primary.url}, {"urls": cluster.urls}) as instance:
        async with load(instance, writing=True) as clients:
            for replica in cluster.replicas:
                await wait_for_reads(instance, replica)
                await asyncio.to_thread(replica.kill)
            await wait_until("the ejections", lambda: all_are_excluded(instance))
            before = (await instance.metric("fallbacks_total"))["unavailable"]

            async def on_the_primary() -> bool:
                return (await instance.metric("fallbacks_total"))["unavailable"] > before

            await wait_until("reads on the primary", on_the_primary)
        assert set(clients.statuses) == {200}


async def test_replicas_serve_reads_while_the_primary_is_unreachable(cluster: Cluster) -> None:
    pool = {"url": cluster.primary.url, "acquire_timeout": "500ms"}
    async with shop(pool, {"urls": cluster.urls, "max_lag": "2s"}) as instance:
        writer, stranger = Client([instance]), Client([instance])
        await writer.write(1, 1)
        await asyncio.to_thread(cluster.wait_until_replayed)
        await asyncio.to_thread(cluster.primary.kill)
        loop = asyncio.get_running_loop()
        ends = loop.time() + 4  # longer than max_lag: an idle primary causes no lag
        while loop.time() < ends:
            assert [(await client.read(1)).body for client in (writer, stranger)] == [b"1", b"1"]
            await asyncio.sleep(0.05)
        refused = await writer.write(1, 2)
        assert (refused.status, refused.header("retry-after")) == (503, "1")
        await asyncio.to_thread(cluster.primary.start)

        async def written() -> bool:
            return (await writer.write(1, 3)).status == 200

        await wait_until("writes", written)
        assert (await writer.read(1)).body == b"3"


async def test_a_replica_with_paused_replay_is_excluded_until_it_catches_up(cluster: Cluster) -> None:
    one, two = cluster.replicas
    replica = {"urls": cluster.urls, "max_lag": "2s", "check_interval": "200ms"}
    async with shop({"url": cluster.primary.url}, replica) as instance:
        async with load(instance, writing=True) as clients:
            await wait_for_reads(instance, one)
            one.sql("SELECT pg_wal_replay_pause()")
            await wait_until("leaving", lambda: is_excluded(instance, one))
            assert "behind (max_lag 2s)" in await health_error(instance, one)
            assert (await instance.metric("lag_seconds"))[address(one)] > 2
            assert (await instance.metric("lag_bytes"))[address(one)] > 0
            await wait_for_reads(instance, two)
            one.sql("SELECT pg_wal_replay_resume()")
            await wait_until("coming back", lambda: is_up(instance, one))
            await wait_for_reads(instance, one)
        assert set(clients.statuses) == {200}
        assert (await instance.metric("ejections_total"))[address(one)] == 0, "late is not failed"


async def test_a_replica_that_exceeds_max_lag_bytes_is_excluded(cluster: Cluster) -> None:
    one, _ = cluster.replicas
    replica = {"urls": cluster.urls, "max_lag_bytes": "64KiB", "check_interval": "200ms"}
    async with shop({"url": cluster.primary.url}, replica) as instance:
        one.sql("SELECT pg_wal_replay_pause()")
        cluster.primary.sql("INSERT INTO stock SELECT number, 0 FROM generate_series(1000, 5000) AS number")
        await wait_until("leaving", lambda: is_excluded(instance, one))
        assert "bytes behind (max_lag_bytes 64KiB)" in await health_error(instance, one)


async def test_a_read_that_conflicts_with_replay_is_retried_elsewhere(impatient_cluster: Cluster) -> None:
    primary = impatient_cluster.primary
    primary.sql("INSERT INTO stock VALUES (1, 7)")
    await asyncio.to_thread(impatient_cluster.wait_until_replayed)
    # Only while it sleeps, and not while it is prepared, does the read hold the lock with which replay conflicts.
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    # Once the conflicting transaction is replayed, it does not sleep.
    query = "SELECT amount FROM stock WHERE id = 1 AND pg_sleep(CASE amount WHEN 7 THEN 600 ELSE 0 END)::text = ''"

    async def read(instance: Instance) -> object:
        CONSISTENCY.set(Consistency())
        reads = instance.host.context.get(READS)
        return await reads.fetch_val(query)

    async with shop({"url": primary.url}, {"urls": impatient_cluster.urls}) as instance:
        reading = asyncio.create_task(read(instance))
        servers = impatient_cluster.replicas
        await wait_until("the read", lambda: any(int(server.sql(asleep)) for server in servers))
        primary.sql("BEGIN; LOCK TABLE stock IN ACCESS EXCLUSIVE MODE; UPDATE stock SET amount = 8; COMMIT")
        assert await reading == 8
        assert sum((await instance.metric("ejections_total")).values()) >= 1


async def test_a_replica_that_restarts_with_less_wal_is_queried_again(cluster: Cluster) -> None:
    one, _ = cluster.replicas
    replica = {"urls": [one.url], "check_interval": "10m", "check_timeout": "1s", "token_ttl": "20m"}
    async with shop({"url": cluster.primary.url}, replica) as instance:
        client = Client([instance])
        await client.write(1, 1)
        await asyncio.to_thread(cluster.wait_until_replayed)
        assert (await client.read(1)).body == b"1"
        before = await instance.metric("reads_total")
        assert before[address(one)] == 1, "known to have it"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one, "settings", (*one.settings, "recovery_min_apply_delay=1h"))
            await asyncio.to_thread(one.kill)
            await asyncio.to_thread(one.start)
        has_less = one.sql("SELECT count(*) FROM stock") == "0"
        assert has_less, "killed before its pages were written, it replays the commit again, an hour late"
        for _ in range(20):
            assert (await client.read(1)).body == b"1"


async def test_a_promoted_replica_is_excluded_and_becomes_the_primary(cluster: Cluster) -> None:
    one, _ = cluster.replicas
    pool = {"urls": [cluster.primary.url, one.url]}
    async with shop(pool, {"urls": cluster.urls}) as instance:
        client = Client([instance])
        await client.write(1, 1)
        await asyncio.to_thread(cluster.wait_until_replayed)
        await asyncio.to_thread(cluster.primary.kill)
        one.sql("SELECT pg_promote()")

        async def written() -> bool:
            return (await client.write(1, 2)).status == 200

        await wait_until("the new primary", written)
        await wait_until("leaving", lambda: is_excluded(instance, one))
        assert await health_error(instance, one) == f"ConnectionError: {address(one)} is a primary, not a replica"
        assert (await client.read(1)).body == b"2", "two is behind another primary, and lacks it"
        assert await is_excluded(instance, one)


async def test_an_exhausted_primary_leads_to_a_token_with_a_time(shared_cluster: Cluster) -> None:
    done = asyncio.Event()
    holders: list[asyncio.Task[None]] = []

    async def hold(database: Database, acquired: asyncio.Event) -> None:
        async with database.connection():
            acquired.set()
            await done.wait()

    async def write_and_crowd(request: Request) -> Response:
        acquired = asyncio.Event()
        await DATABASE(request).execute(WRITE, {"id": 50, "amount": 5})
        holders.append(asyncio.create_task(hold(DATABASE(request), acquired)))
        await acquired.wait()
        return Response("written")

    pool = {"url": shared_cluster.primary.url, "max_size": 1, "min_size": 1}
    async with shop(pool, {"urls": shared_cluster.urls}, [Route("/crowd", write_and_crowd)]) as instance:
        client = Client([instance])
        assert (await client.send("/crowd")).body == b"written"
        done.set()
        await asyncio.gather(*holders)
        assert (await client.read(50)).body == b"5"
        assert (await instance.metric("fallbacks_total"))["recent_write"] == 1
