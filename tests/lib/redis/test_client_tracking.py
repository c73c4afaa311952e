"""What others change is told, that it is not told any more is told at once, and it heals by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest

from scalekit_redis import Connections, InvalidationListener, Redis, tracking_connection
from scalekit_redis.client_tracking import ClientTracking
from tests.lib.redis.conftest import SERVERS, cluster_url
from tests.lib.redis.poll import until, until_answered
from tests.lib.redis.proxy import proxy
from tests.processes import HOST, wait_for
from tests.servers import ClusterNode, RedisCluster
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio
unhurried = pytest.mark.usefixtures("time_to_answer")


class Heard:
    """All that was told, in order: True for begun, False for lost, and keys."""

    def __init__(self) -> None:
        self.on_keys: list[bool | bytes] = []
        self.tracking: ClientTracking | None = None

    @property
    def keys(self) -> set[bytes]:
        return {each for each in self.on_keys if isinstance(each, bytes)}

    @property
    def turns(self) -> list[bool]:
        return [each for each in self.on_keys if isinstance(each, bool)]

    def active(self) -> bool:
        return self.tracking is not None and self.tracking.active

    def off(self) -> bool:
        return not self.active()

    def hearing(self) -> InvalidationListener:
        return InvalidationListener(
            lambda: self._record(True), self.on_keys.extend, lambda confirmed_until: self._record(False)
        )

    def _record(self, active: bool) -> None:
        assert self.tracking is None or self.tracking.active is active
        self.on_keys.append(active)


@asynccontextmanager
async def hearing(redis: Redis, *prefixes: bytes) -> AsyncGenerator[Heard, None]:
    heard = Heard()
    async with redis.tracking(prefixes or (b"seen:",), heard.hearing()) as heard.tracking:
        await until("tracking to be on", heard.active)
        yield heard
    assert heard.off()


@pytest.fixture
def time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no server be taken for lost that a busy machine keeps from answering."""
    monkeypatch.setattr(tracking_connection, "PROBE_TIMEOUT", 60.0)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in SERVERS])
def own(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Start a server for a test that harms it."""
    with Server(binary=SERVERS[request.param]) as server:
        yield server


@unhurried
async def test_what_anybody_writes_below_a_prefix_is_told(redis: Redis, server: Server) -> None:
    async with hearing(redis, b"seen:", b"too:") as heard:
        server.cli("SET", "seen:theirs", "x")
        server.cli("SET", "other:theirs", "x")
        await redis.set("seen:own", "x")
        await redis.set("too:short", "x", ttl=0.01)
        await redis.delete("seen:theirs")
        await until("the last of them", lambda: heard.on_keys.count(b"seen:theirs") == 2)
        await until("the end of what is short", lambda: heard.on_keys.count(b"too:short") == 2)
        assert heard.keys == {b"seen:theirs", b"seen:own", b"too:short"}
        assert heard.turns == [True]


@unhurried
async def test_a_server_that_is_emptied_ends_all_that_was_told(redis: Redis, server: Server) -> None:
    async with hearing(redis) as heard:
        await redis.set("seen:own", "x")
        await until("the key", lambda: heard.keys)
        server.cli("FLUSHALL")
        await until("the flush", lambda: heard.turns == [True, False, True])
        assert heard.active()


@unhurried
async def test_a_connection_that_is_killed_is_told_and_opened_again(redis: Redis, server: Server) -> None:
    async with hearing(redis) as heard:
        server.cli("CLIENT", "KILL", "TYPE", "normal")
        await until("the loss and the recovery", lambda: heard.turns == [True, False, True])
        server.cli("SET", "seen:after", "x")
        await until("what is written after", lambda: heard.keys == {b"seen:after"})


@unhurried
async def test_a_connection_that_is_cut_is_told_before_what_follows(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis, hearing(redis) as heard:
        between.refuses = True
        between.cut()
        await until("the loss", heard.off)
        server.cli("SET", "seen:meanwhile", "x")
        between.refuses = False
        await until("the recovery", heard.active)
        assert heard.on_keys == [True, False, True]


async def test_silence_is_noticed_though_the_connection_stays(server: Server, connections: Connections) -> None:
    async with proxy(server.port) as between, connections.open(between.url) as redis, hearing(redis) as heard:
        between.open.clear()
        await until("the loss", heard.off)
        between.open.set()
        await until("the recovery", heard.active)
        server.cli("SET", "seen:after", "x")
        await until("what is written after", lambda: b"seen:after" in heard.keys)


async def test_a_server_that_hangs_is_noticed(own: Server, connections: Connections) -> None:
    async with connections.open(own.url) as redis, hearing(redis) as heard:
        own.pause()
        try:
            await until("the loss", heard.off)
        finally:
            own.resume()
        await until("the recovery", heard.active)


@unhurried
async def test_a_server_that_dies_and_comes_back(own: Server, connections: Connections) -> None:
    async with connections.open(own.url) as redis, hearing(redis) as heard:
        await asyncio.to_thread(own.kill)
        await until("the loss", lambda: heard.turns == [True, False])
        own.start()
        await until("the recovery", heard.active)
        own.cli("SET", "seen:after", "x")
        await until("what is written after", lambda: heard.keys == {b"seen:after"})


async def test_a_server_that_becomes_a_replica_is_left(own: Server, connections: Connections) -> None:
    async with connections.open(own.url) as redis, hearing(redis) as heard:
        own.cli("REPLICAOF", HOST, "1")
        await until("the loss", lambda: heard.turns[:2] == [True, False])


async def test_who_may_not_track_is_never_told_that_it_is_on(own: Server, connections: Connections) -> None:
    own.cli("ACL", "SETUSER", "plain", "on", ">secret", "~*", "+@all", "-client|tracking")
    async with connections.open(f"redis://plain:secret@{HOST}:{own.port}") as redis:
        heard = Heard()
        async with redis.tracking([b"seen:"], heard.hearing()) as tracking:
            await redis.set("seen:own", "x")
            assert not tracking.active
            assert heard.on_keys == []
            own.cli("ACL", "SETUSER", "plain", "+client|tracking")
            await until("the permission", lambda: tracking.active)


@unhurried
async def test_a_cluster_tells_of_every_server(cluster: RedisCluster, connections: Connections) -> None:
    async with connections.open(cluster_url(cluster), timeout=5) as redis, hearing(redis) as heard:
        await asyncio.gather(*(redis.set(f"seen:{number}", "x") for number in range(50)))
        await until("all keys", lambda: len(heard.keys) == 50)
        assert heard.turns == [True]


async def test_a_planned_failover_is_followed(cluster: RedisCluster, connections: Connections) -> None:
    async with connections.open(cluster_url(cluster), timeout=5) as redis, hearing(redis) as heard:
        before = cluster.owner("seen:1")
        await asyncio.to_thread(cluster.hand_over, "seen:1")
        await until("the change", lambda: heard.turns[:3] == [True, False, True] and heard.active())
        heard.on_keys.clear()
        after = cluster.owner("seen:1")
        assert after is not before
        after.cli("SET", "seen:1", "by another")
        await until("the write", lambda: b"seen:1" in heard.keys)


async def test_a_master_that_dies_is_told_and_its_replica_is_heard(
    cluster: RedisCluster, connections: Connections
) -> None:
    async with connections.open(cluster_url(cluster)) as redis, hearing(redis) as heard:
        victim, replica = cluster.owner("seen:1"), cluster.replica("seen:1")
        await asyncio.to_thread(victim.kill)
        await until("the loss", lambda: False in heard.turns)
        await until_answered(lambda: redis.set("seen:1", "new"))
        await until("the recovery", heard.active)
        replica.cli("SET", "seen:1", "by another")
        await until("the write", lambda: b"seen:1" in heard.keys)
    await asyncio.to_thread(cluster.start)


@unhurried
async def test_with_replica_reads_a_change_is_told_again_by_the_replica(
    cluster: RedisCluster, connections: Connections
) -> None:
    async with (
        connections.open(cluster_url(cluster), timeout=5, replica_reads=True) as redis,
        hearing(redis) as heard,
    ):
        await redis.set("seen:1", "x")
        await until("master and replica", lambda: heard.on_keys.count(b"seen:1") == 2)


@pytest.mark.needs("redis")
async def test_a_slot_that_moves_to_a_server_that_had_none_is_heard_there(connections: Connections) -> None:
    with RedisCluster() as cluster, ClusterNode() as fresh:
        async with connections.open(cluster_url(cluster), timeout=5) as redis, hearing(redis) as heard:
            source = cluster.owner("seen:1")
            fresh.cli("CLUSTER", "MEET", HOST, source.port, source.ports[1])
            name = fresh.cli("CLUSTER", "MYID")
            await asyncio.to_thread(
                wait_for, "the acquaintance", lambda: name in source.cli("CLUSTER", "NODES") and "ok" in state(fresh)
            )
            slot = source.cli("CLUSTER", "KEYSLOT", "seen:1")
            fresh.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", source.cli("CLUSTER", "MYID"))
            source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", name)
            for node in (fresh, source):
                assert node.cli("CLUSTER", "SETSLOT", slot, "NODE", name) == "OK"
            await redis.set("seen:1", "x")
            await until("the change", lambda: False in heard.turns and heard.active())
            heard.on_keys.clear()
            assert fresh.cli("SET", "seen:1", "by another") == "OK"
            await until("the write", lambda: b"seen:1" in heard.keys)


def state(node: ClusterNode) -> str:
    return node.cli("CLUSTER", "INFO").partition("\n")[0]
