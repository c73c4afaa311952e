"""Clients read their own writes on every instance, whatever the lag of the replicas."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence

import pytest

from tests.replica.conftest import Cluster
from tests.replica.shop import Client, Instance, shop, wait_until

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.anyio]

SECONDS = float(os.environ.get("REPLICA_SECONDS", "6"))
"""How long the load lasts; longer finds more."""
CLIENTS = 50
EITHER = pytest.mark.parametrize("path", ["/stock", "/objects"], ids=["statements", "sessions"])


async def write_and_read_back(client: Client, item: int, ends: float) -> int:
    """Write increasing amounts and read each back; return the number of correct reads."""
    loop = asyncio.get_running_loop()
    amount = 0
    while loop.time() < ends:
        amount += 1
        written = await client.write(item, amount)
        assert (written.status, written.body) == (200, b"%d" % amount)
        for _ in range(random.randrange(3)):
            read = await client.read(item)
            assert (read.status, read.body) == (200, b"%d" % amount)
    return amount


async def read_others(client: Client, ends: float) -> None:
    """Read the amounts that other clients write."""
    loop = asyncio.get_running_loop()
    while loop.time() < ends:
        assert (await client.read(random.randrange(CLIENTS))).status == 200
        await asyncio.sleep(0.002)


def clients_of(instances: Sequence[Instance], number: int, path: str) -> list[Client]:
    return [Client(instances, cookies=bool(place % 2), path=path) for place in range(number)]


async def pause_and_resume(cluster: Cluster, ends: float) -> None:
    """Pause the replay of one replica or both for a moment, again and again."""
    while asyncio.get_running_loop().time() < ends:
        paused = random.sample(cluster.replicas, random.randrange(1, 3))
        for command in ("pause", "resume"):
            for replica in paused:
                await asyncio.to_thread(replica.sql, f"SELECT pg_wal_replay_{command}()")
            await asyncio.sleep(random.random() / 2)


@EITHER
async def test_no_read_is_stale_while_replicas_replay_two_seconds_late(slow_cluster: Cluster, path: str) -> None:
    pool = {"url": slow_cluster.primary.url, "max_size": 10}
    replica = {"urls": slow_cluster.urls}
    async with shop(pool, replica) as first, shop(pool, replica) as second:
        ends = asyncio.get_running_loop().time() + SECONDS
        writers = clients_of([first, second], CLIENTS, path)
        async with asyncio.TaskGroup() as tasks:
            for item, client in enumerate(writers):
                tasks.create_task(write_and_read_back(client, item, ends))
        for instance in (first, second):
            assert (await instance.metric("fallbacks_total"))["behind"] > 0


@EITHER
async def test_no_read_is_stale_while_replay_is_paused_and_resumed(shared_cluster: Cluster, path: str) -> None:
    pool = {"url": shared_cluster.primary.url, "max_size": 10}
    replica = {"urls": shared_cluster.urls}
    async with shop(pool, replica) as first, shop(pool, replica) as second:
        ends = asyncio.get_running_loop().time() + SECONDS
        async with asyncio.TaskGroup() as tasks:
            pausing = tasks.create_task(pause_and_resume(shared_cluster, ends))
            writers = [
                tasks.create_task(write_and_read_back(client, item, ends))
                for item, client in enumerate(clients_of([first, second], CLIENTS, path))
            ]
        assert pausing.done()
        print(sum(writer.result() for writer in writers), "amounts were read back")
        for instance in (first, second):
            assert (await instance.metric("fallbacks_total"))["behind"] > 0
            assert min((await instance.metric("reads_total")).values()) > 0


@EITHER
async def test_no_read_is_stale_on_replicas_without_lag_which_serve_most_reads(
    shared_cluster: Cluster, path: str
) -> None:
    pool = {"url": shared_cluster.primary.url, "max_size": 10}
    replica = {"urls": shared_cluster.urls}
    async with shop(pool, replica) as first, shop(pool, replica) as second:
        ends = asyncio.get_running_loop().time() + SECONDS
        async with asyncio.TaskGroup() as tasks:
            for item, client in enumerate(clients_of([first, second], CLIENTS, path)):
                if item % 5:
                    tasks.create_task(read_others(client, ends))
                else:
                    tasks.create_task(write_and_read_back(client, item, ends))
        for instance in (first, second):
            assert await instance.share_on_replicas() > 0.8
            assert min((await instance.metric("reads_total")).values()) > 0


async def test_a_client_without_a_token_may_read_stale_rows(slow_cluster: Cluster) -> None:
    pool, replica = {"url": slow_cluster.primary.url}, {"urls": slow_cluster.urls}
    async with shop(pool, replica) as instance:
        await Client([instance]).write(1, 1)
        stranger = Client([instance])
        assert (await stranger.read(1)).body == b"None", "a replica that is late shows that this test can fail"
        await wait_until("the replicas", lambda: reads_of(stranger, 1, b"1"))


async def reads_of(client: Client, item: int, expected: bytes) -> bool:
    return (await client.read(item)).body == expected


async def test_instances_share_nothing_but_the_secret(slow_cluster: Cluster) -> None:
    pool, replica = {"url": slow_cluster.primary.url}, {"urls": slow_cluster.urls}
    async with shop(pool, replica) as first, shop(pool, replica) as second:
        client = Client([first])
        for amount in range(10):
            await client.write(1, amount)
            client.instances = [second]
            assert (await client.read(1)).body == b"%d" % amount
            client.instances = [first]
        assert (await second.metric("tokens_total"))["accepted"] == 10
        assert (await second.metric("tokens_total"))["issued"] == 0


async def test_a_token_of_another_secret_is_ignored(slow_cluster: Cluster) -> None:
    pool, replica = {"url": slow_cluster.primary.url}, {"urls": slow_cluster.urls}
    async with shop(pool, replica) as first, shop(pool, {**replica, "secret": "another" * 10}) as second:
        client = Client([first])
        await client.write(1, 1)
        client.instances = [second]
        assert (await client.read(1)).body == b"None"
        assert (await second.metric("tokens_total"))["rejected"] == 1


async def test_a_response_begun_before_the_commit_has_a_token_with_a_time(shared_cluster: Cluster) -> None:
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    from scalekit.contracts import DATABASE
    from tests.replica.shop import WRITE

    async def slow_commit(request: Request) -> StreamingResponse:
        transaction = DATABASE(request).transaction()
        await transaction.__aenter__()
        await DATABASE(request).execute(WRITE, {"id": 77, "amount": 7})

        async def body() -> object:
            yield b"accepted"
            await transaction.__aexit__(None, None, None)

        return StreamingResponse(body())  # type: ignore[arg-type]

    pool, replica = {"url": shared_cluster.primary.url}, {"urls": shared_cluster.urls}
    async with shop(pool, replica, [Route("/slow", slow_commit)]) as instance:
        client = Client([instance])
        assert (await client.send("/slow")).body == b"accepted"
        assert (await client.read(77)).body == b"7"
        assert (await instance.metric("fallbacks_total"))["recent_write"] == 1
