"""What clients see while servers are killed, hang, lag and change places."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from scalekit.contracts import CONSISTENCY, DATABASE, READS, Consistency, Database
from tests.command_line import scalekit
from tests.processes import free_ports
from tests.replica.conftest import Cluster
from tests.replica.shop import SECRET, WRITE, Client, Instance, shop, until
from tests.servers import Postgres

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.anyio]

READERS = 20


def place(server: Postgres) -> str:
    return f"127.0.0.1:{server.port}"


async def is_up(instance: Instance, server: Postgres) -> bool:
    return (await instance.numbers("up"))[place(server)] == 1


async def is_out(instance: Instance, server: Postgres) -> bool:
    return not await is_up(instance, server)


async def all_are_out(instance: Instance) -> bool:
    return not any((await instance.numbers("up")).values())


async def grows(instance: Instance, server: Postgres) -> None:
    """Wait until *server* has served another read."""
    before = (await instance.numbers("reads_total"))[place(server)]

    async def grown() -> bool:
        return (await instance.numbers("reads_total"))[place(server)] > before

    await until(f"reads on {server.name}", grown)


@dataclass(frozen=True, slots=True)
class Load:
    """How often each status was answered, and how often each client got an response to a read."""

    statuses: Counter[int]
    reads: Counter[int]

    async def every_client_reads_again(self) -> None:
        """Wait until each client has got another response."""
        before = self.reads.copy()
        await until("reads", lambda: all(self.reads[item] > before[item] for item in range(READERS)))


@asynccontextmanager
async def load(instance: Instance, *, writing: bool = False) -> AsyncGenerator[Load, None]:
    """Read all the time while inside; what is read is right."""
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


async def health_of(instance: Instance, server: Postgres) -> str:
    """Return what the check of *server* says now."""
    await instance.host.monitor.check_once()
    return instance.host.monitor.results[f"replica.{place(server)}"].last_error


async def says(instance: Instance, server: Postgres, words: str) -> bool:
    return words in await health_of(instance, server)


async def test_clients_do_not_notice_a_killed_replica_and_it_returns(cluster: Cluster) -> None:
    one, two = cluster.replicas
    async with shop({"url": cluster.primary.url}, {"urls": cluster.urls}) as instance:
        async with load(instance, writing=True) as clients:
            await grows(instance, one)
            await asyncio.to_thread(one.kill)
            await until("the ejection", lambda: is_out(instance, one))
            await until("the reason", lambda: says(instance, one, f"nothing listens at {place(one)}"))
            await grows(instance, two)
            await asyncio.to_thread(one.start)
            await until("the return", lambda: is_up(instance, one))
            await grows(instance, one)
        assert set(clients.statuses) == {200}
        assert (await instance.numbers("ejections_total"))[place(one)] >= 1


async def test_reads_in_flight_on_a_hanging_replica_are_aborted_and_retried(cluster: Cluster) -> None:
    one, _ = cluster.replicas
    pool = {"url": cluster.primary.url}
    async with shop(pool, {"urls": cluster.urls, "check_timeout": "500ms"}) as instance:
        async with load(instance) as clients:
            await grows(instance, one)
            one.pause()
            await until("the ejection", lambda: is_out(instance, one))
            assert (await instance.numbers("aborted_reads_total"))[place(one)] > 0
            await clients.every_client_reads_again()
            assert "no response within check_timeout 0.5s" in await health_of(instance, one)
            one.resume()
            await until("the return", lambda: is_up(instance, one))
            await grows(instance, one)
        assert set(clients.statuses) == {200}


async def test_reads_go_to_the_primary_when_all_replicas_are_unavailable(cluster: Cluster) -> None:
    async with shop({"url": cluster.primary.url}, {"urls": cluster.urls}) as instance:
        async with load(instance, writing=True) as clients:
            for replica in cluster.replicas:
                await grows(instance, replica)
                await asyncio.to_thread(replica.kill)
            await until("the ejections", lambda: all_are_out(instance))
            before = (await instance.numbers("fallbacks_total"))["unavailable"]

            async def on_the_primary() -> bool:
                return (await instance.numbers("fallbacks_total"))["unavailable"] > before

            await until("reads on the primary", on_the_primary)
        assert set(clients.statuses) == {200}


async def test_replicas_are_read_from_while_the_primary_is_dead(cluster: Cluster) -> None:
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

        await until("writes", written)
        assert (await writer.read(1)).body == b"3"


async def test_a_replica_with_paused_replay_is_excluded_until_it_catches_up(cluster: Cluster) -> None:
    one, two = cluster.replicas
    replica = {"urls": cluster.urls, "max_lag": "2s", "check_interval": "200ms"}
    async with shop({"url": cluster.primary.url}, replica) as instance:
        async with load(instance, writing=True) as clients:
            await grows(instance, one)
            one.sql("SELECT pg_wal_replay_pause()")
            await until("leaving", lambda: is_out(instance, one))
            assert "behind (max_lag 2s)" in await health_of(instance, one)
            assert (await instance.numbers("lag_seconds"))[place(one)] > 2
            assert (await instance.numbers("lag_bytes"))[place(one)] > 0
            await grows(instance, two)
            one.sql("SELECT pg_wal_replay_resume()")
            await until("coming back", lambda: is_up(instance, one))
            await grows(instance, one)
        assert set(clients.statuses) == {200}
        assert (await instance.numbers("ejections_total"))[place(one)] == 0, "late is not failed"


async def test_a_replica_that_exceeds_max_lag_bytes_is_excluded(cluster: Cluster) -> None:
    one, _ = cluster.replicas
    replica = {"urls": cluster.urls, "max_lag_bytes": "64KiB", "check_interval": "200ms"}
    async with shop({"url": cluster.primary.url}, replica) as instance:
        one.sql("SELECT pg_wal_replay_pause()")
        cluster.primary.sql("INSERT INTO stock SELECT number, 0 FROM generate_series(1000, 5000) AS number")
        await until("leaving", lambda: is_out(instance, one))
        assert "bytes behind (max_lag_bytes 64KiB)" in await health_of(instance, one)


async def test_a_read_that_is_in_the_way_of_replaying_is_read_elsewhere(impatient_cluster: Cluster) -> None:
    primary = impatient_cluster.primary
    primary.sql("INSERT INTO stock VALUES (1, 7)")
    await asyncio.to_thread(impatient_cluster.wait_until_replayed)
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%nap%' AND pid <> pg_backend_pid()"

    async def read(instance: Instance) -> object:
        CONSISTENCY.set(Consistency())
        reads = instance.host.context.get(READS)
        return await reads.fetch_val("SELECT amount FROM stock, (SELECT pg_sleep(2)) AS nap WHERE id = 1")

    async with shop({"url": primary.url}, {"urls": impatient_cluster.urls}) as instance:
        reading = asyncio.create_task(read(instance))
        servers = impatient_cluster.replicas
        await until(
            "the read", lambda: any(int(server.sql(f"{running} AND pid <> pg_backend_pid()")) for server in servers)
        )
        primary.sql("BEGIN; LOCK TABLE stock IN ACCESS EXCLUSIVE MODE; COMMIT")
        assert await reading == 7
        assert sum((await instance.numbers("ejections_total")).values()) >= 1


async def test_a_replica_that_restarts_with_less_wal_is_queried_again(cluster: Cluster) -> None:
    one, _ = cluster.replicas
    replica = {"urls": [one.url], "check_interval": "10m", "check_timeout": "1s", "token_ttl": "20m"}
    async with shop({"url": cluster.primary.url}, replica) as instance:
        client = Client([instance])
        await client.write(1, 1)
        await asyncio.to_thread(cluster.wait_until_replayed)
        assert (await client.read(1)).body == b"1"
        before = await instance.numbers("reads_total")
        assert before[place(one)] == 1, "known to have it"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one, "settings", (*one.settings, "recovery_min_apply_delay=1h"))
            await asyncio.to_thread(one.kill)
            await asyncio.to_thread(one.start)
        has_less = one.sql("SELECT count(*) FROM stock") == "0"
        assert has_less, "killed before its pages were written, it replays the commit again, an hour late"
        for _ in range(20):
            assert (await client.read(1)).body == b"1"


async def test_a_promoted_replica_leaves_and_the_pool_finds_that_it_takes_writes(cluster: Cluster) -> None:
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

        await until("the new primary", written)
        await until("leaving", lambda: is_out(instance, one))
        assert await health_of(instance, one) == f"ConnectionError: {place(one)} is a primary, not a replica"
        assert (await client.read(1)).body == b"2", "two is behind another primary, and lacks it"
        assert await is_out(instance, one)


async def check(tmp_path: Path, primary: str, replica: str) -> CompletedProcess[str]:
    """Run ``scalekit check --connect`` with one replica."""
    (tmp_path / "shop.py").write_text("async def app(scope, receive, send):\n    pass\n")
    (tmp_path / "scalekit.toml").write_text(
        f'[app]\ntarget = "shop:app"\n[plugins.pool]\nurl = "{primary}"\n'
        f'[plugins.replica]\nurls = ["{replica}"]\nsecret = "{SECRET}"\n'
    )
    return await asyncio.to_thread(scalekit, "check", "--connect", folder=tmp_path)


async def test_check_connect_has_one_line_for_each_mistake(shared_cluster: Cluster, tmp_path: Path) -> None:
    primary, replica = shared_cluster.primary, shared_cluster.replicas[0]
    (port,) = free_ports(1)
    lines = {
        primary.url.replace("postgres@", "postgres:hunter2@"): f"{place(primary)} is a primary, not a replica",
        f"postgresql://postgres:hunter2@127.0.0.1:{port}/postgres": f"nothing listens at 127.0.0.1:{port}",
    }
    for url, line in lines.items():
        result = await check(tmp_path, primary.url, url)
        failed = [each for each in result.stdout.splitlines() if each.startswith("failed")]
        assert len(failed) == 1
        assert failed[0].endswith(line)
        assert result.returncode == 1
        assert "hunter2" not in result.stdout + result.stderr
    assert (await check(tmp_path, primary.url, replica.url)).returncode == 0


async def test_another_kind_of_database_is_no_replica(shared_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "copy.db").touch()
    result = await check(tmp_path, shared_cluster.primary.url, f"sqlite:///{tmp_path}/copy.db")
    assert result.returncode == 1
    assert "is sqlite, but the primary is postgresql; name a copy of it" in result.stderr


async def test_a_primary_without_a_connection_to_spare_means_a_token_by_time(shared_cluster: Cluster) -> None:
    done = asyncio.Event()
    holders: list[asyncio.Task[None]] = []

    async def hold(database: Database, held: asyncio.Event) -> None:
        async with database.connection():
            held.set()
            await done.wait()

    async def put_and_crowd(request: Request) -> Response:
        held = asyncio.Event()
        await DATABASE(request).execute(WRITE, {"id": 50, "amount": 5})
        holders.append(asyncio.create_task(hold(DATABASE(request), held)))
        await held.wait()
        return Response("written")

    pool = {"url": shared_cluster.primary.url, "max_size": 1, "min_size": 1}
    async with shop(pool, {"urls": shared_cluster.urls}, [Route("/crowd", put_and_crowd)]) as instance:
        client = Client([instance])
        assert (await client.ask("/crowd")).body == b"written"
        done.set()
        await asyncio.gather(*holders)
        assert (await client.read(50)).body == b"5"
        assert (await instance.numbers("fallbacks_total"))["recent_write"] == 1
