"""Failovers by Sentinel: masters that are killed or hang under load, and Sentinels that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest

from scalekit.telemetry import Telemetry
from scalekit_redis import Connections, InvalidationListener, Script
from scalekit_redis.metrics import FAILOVERS, MASTER
from scalekit_redis.sentinels import Sentinels
from tests.lib.redis.conftest import sentinels_of
from tests.lib.redis.poll import failure, until, until_available
from tests.lib.redis.sentinel_load import running_load
from tests.processes import HOST, wait_for
from tests.servers import Redis as Server
from tests.servers import SentinelGroup

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module")
def group() -> Iterator[SentinelGroup]:
    with SentinelGroup() as group:
        yield group


@pytest.fixture(autouse=True)
def restart_servers(group: SentinelGroup) -> Iterator[None]:
    """Start the killed servers, also after a failure: the next test uses the same group."""
    yield
    group.start().cli("FLUSHALL")


def master_of(group: SentinelGroup, sentinels: Sentinels) -> Server:
    """Return the server that is the master for the client; a Sentinel may learn of a failover later."""
    return next(server for server in group.servers if sentinels.master == (HOST, server.port))


async def test_a_killed_master_is_replaced_under_load_and_no_reply_is_wrong(
    group: SentinelGroup, connections: Connections, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    async with connections.open(group.url) as redis:
        former, sentinels = group.master, sentinels_of(redis)
        async with running_load(redis, lambda: sentinels.master) as load:
            await load.served()
            await asyncio.to_thread(former.kill)
            await until("the failover", lambda: sentinels.master != (HOST, former.port))
            await load.served()
        master = master_of(group, sentinels)
        assert load.outcomes["unavailable"] > 0
        await redis.probe()
        data = telemetry.snapshot().families[MASTER.name].data
        assert data[group.url, f"{HOST}:{former.port}"] == 0
        assert data[group.url, f"{HOST}:{master.port}"] == 1
        assert telemetry.snapshot().families[FAILOVERS.name].data[group.url,] >= 1
        assert f"the master is now {HOST}:{master.port}, was {HOST}:{former.port}" in caplog.text
        await asyncio.to_thread(group.start)  # the former master returns, and becomes a replica
        async with running_load(redis, lambda: sentinels.master) as load:
            await load.served()
        await until("the agreement with the Sentinels", lambda: sentinels.master == (HOST, group.port))


async def test_a_former_master_that_runs_on_is_never_used_again(group: SentinelGroup, connections: Connections) -> None:
    async with connections.open(group.url) as redis:
        former, sentinels = group.master, sentinels_of(redis)
        async with running_load(redis, lambda: sentinels.master) as load:
            await load.served()
            await asyncio.to_thread(former.pause)
            await until("the failover", lambda: sentinels.master != (HOST, former.port))
            await load.served()
            await redis.set("split", "new")
            await asyncio.to_thread(former.resume)
            roles = set()
            while "slave" not in roles:
                with suppress(OSError):  # Sentinel closes all connections to a master that it demotes
                    roles.add((await asyncio.to_thread(former.cli, "ROLE")).partition("\n")[0])
                assert await until_available(lambda: redis.get("split")) == b"new"
            await load.served()
        assert "master" in roles, "it still believed to be the master for a while"
        assert sentinels.master != (HOST, former.port)


async def test_a_planned_failover_under_load_is_followed(group: SentinelGroup, connections: Connections) -> None:
    async with connections.open(group.url) as redis:
        sentinels = sentinels_of(redis)
        async with running_load(redis, lambda: sentinels.master) as load:
            await load.served()
            await asyncio.to_thread(group.fail_over)
            await until("the failover", lambda: sentinels.master == (HOST, group.port))
            await load.served()


async def test_commands_in_flight_have_the_outcome_of_a_lost_connection(
    group: SentinelGroup, connections: Connections
) -> None:
    async with connections.open(group.url, timeout=60) as redis:
        await redis.set("key", "value")
        await asyncio.to_thread(wait_for, "the replication", lambda: all_have(group, "key", "value"))
        former = group.master
        former.pause()
        read, counted = redis.get("key"), redis.call("INCR", "counter")
        await asyncio.sleep(0)  # they are written
        assert (await failure(lambda: counted)).kind == "disconnected"
        assert await read == b"value"
        assert await redis.get("counter") is None


def all_have(group: SentinelGroup, key: str, value: str) -> bool:
    return all(server.cli("GET", key) == value for server in group.servers)


async def test_scripts_run_on_the_new_master(group: SentinelGroup, connections: Connections) -> None:
    script = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    async with connections.open(group.url, timeout=5) as redis:
        prepared = redis.prepare(script, (2,))
        assert await redis.run_script(script, ["counter"], [1]) == 1
        master = await asyncio.to_thread(group.fail_over)
        await asyncio.to_thread(master.cli, "SCRIPT", "FLUSH")
        count = await until_available(lambda: redis.run_script(script, ["counter"], [1]))
        replies = await asyncio.gather(*(prepared.run("counter") for _ in range(40)))
        assert replies == [count + 2 * number for number in range(1, 41)]


async def test_client_tracking_follows_the_master(group: SentinelGroup, connections: Connections) -> None:
    events: list[object] = []
    listener = InvalidationListener(lambda: events.append(True), events.extend, lambda until: events.append(False))
    async with connections.open(group.url) as redis, redis.tracking([b"seen:"], listener) as tracking:
        await until("tracking to be active", lambda: tracking.active)
        await asyncio.to_thread(group.master.kill)
        await until("the new master", lambda: tracking.active and False in events)
        master_of(group, sentinels_of(redis)).cli("SET", "seen:1", "by another")
        await until("the write", lambda: b"seen:1" in events)
        await asyncio.to_thread(group.start)
        lost = events.count(False)
        await asyncio.to_thread(group.fail_over)
        await until("the loss and the recovery", lambda: events.count(False) > lost and tracking.active)
        master_of(group, sentinels_of(redis)).cli("SET", "seen:2", "by another")
        await until("the second write", lambda: b"seen:2" in events)


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_a_failover_is_noticed_although_a_sentinel_fails(
    group: SentinelGroup, connections: Connections, fault: str
) -> None:
    async with connections.open(group.url) as redis:
        former, sentinels = group.master, sentinels_of(redis)
        await asyncio.to_thread(getattr(group.sentinels[0], fault))
        async with running_load(redis, lambda: sentinels.master) as load:
            await load.served()
            assert set(load.outcomes) == {"served"}
            await asyncio.to_thread(former.kill)
            await until("the failover", lambda: sentinels.master != (HOST, former.port))
            await load.served()


async def test_a_sentinel_that_missed_a_failover_does_not_lead_back_to_the_former_master(
    group: SentinelGroup, connections: Connections
) -> None:
    async with connections.open(group.url) as redis:
        former, sentinels, (late, *others) = group.master, sentinels_of(redis), group.sentinels
        await asyncio.to_thread(late.kill)
        await asyncio.to_thread(former.pause)
        await until("the failover", lambda: sentinels.master != (HOST, former.port))
        for other in others:  # the late Sentinel cannot learn of it from them
            await asyncio.to_thread(other.pause)
        await asyncio.to_thread(former.resume)
        await asyncio.to_thread(late.start)
        outdated = sentinels._sentinels[0]
        await until("its report", lambda: not outdated.error)
        assert outdated.report is not None
        assert outdated.report.master == (HOST, former.port)
        assert sentinels.master != (HOST, former.port)
        assert await sentinels.find_master() != (HOST, former.port)


async def test_without_any_sentinel_the_connection_to_the_master_serves_on(
    group: SentinelGroup, connections: Connections
) -> None:
    async with connections.open(group.url) as redis:
        former, sentinels = group.master, sentinels_of(redis)
        async with running_load(redis, lambda: sentinels.master) as load:
            for sentinel in group.sentinels:
                await asyncio.to_thread(sentinel.kill)
            await until("failed queries", lambda: all(each.error for each in sentinels._sentinels))
            await load.served()
            assert set(load.outcomes) == {"served"}
            await asyncio.to_thread(group.start)
            await asyncio.to_thread(former.kill)
            await until("the failover", lambda: sentinels.master != (HOST, former.port))
            await load.served()


async def test_without_any_sentinel_a_lost_connection_is_not_replaced_by_one_to_an_unconfirmed_master(
    group: SentinelGroup, connections: Connections
) -> None:
    async with connections.open(group.url) as redis:
        await redis.set("key", "value")
        for sentinel in group.sentinels:
            await asyncio.to_thread(sentinel.kill)
        for server in group.servers:
            server.cli("CLIENT", "KILL", "TYPE", "normal")
        while (error := await failure(lambda: redis.get("key", timeout=5))).kind != "unavailable":
            pass
        assert "no Sentinel names the master mymaster" in str(error)
        await asyncio.to_thread(group.start)
        assert await until_available(lambda: redis.get("key")) == b"value"


async def test_a_client_that_starts_without_any_sentinel_connects_when_one_is_reachable(
    group: SentinelGroup, connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    for sentinel in group.sentinels:
        await asyncio.to_thread(sentinel.kill)
    async with connections.open(group.url) as redis:
        assert (await failure(lambda: redis.get("key"))).kind == "unavailable"
        assert "no Sentinel names the master mymaster" in caplog.text
        await asyncio.to_thread(group.sentinels[1].start)
        assert await until_available(lambda: redis.set("key", "value")) is True


async def test_an_open_cancelled_at_any_step_leaves_no_task(group: SentinelGroup, connections: Connections) -> None:
    async def enter() -> None:
        async with connections.open(group.url):
            await asyncio.Event().wait()

    for turns in range(60):
        opening = asyncio.ensure_future(enter())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait_for(asyncio.wait([opening]), 60)
        assert not [task for task in asyncio.all_tasks() if "redis" in task.get_name()]
