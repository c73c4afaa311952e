"""Client tracking: changes by all clients are reported, a loss is reported at once, and tracking resumes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest

from scalekit_redis import Connections, InvalidationListener, Redis, push_connection
from scalekit_redis.client_tracking import ClientTracking
from tests.lib.redis.conftest import SERVERS, cluster_url
from tests.lib.redis.poll import until, until_available
from tests.lib.redis.proxy import open_proxy
from tests.processes import HOST, wait_for
from tests.servers import ClusterNode, RedisCluster
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio
generous_timeout = pytest.mark.usefixtures("long_probe_timeout")


class RecordedChanges:
    """Records the callbacks in order: True for on_start, False for on_lost, and changed keys."""

    def __init__(self) -> None:
        self.events: list[bool | bytes] = []
        self.tracking: ClientTracking | None = None

    @property
    def keys(self) -> set[bytes]:
        return {each for each in self.events if isinstance(each, bytes)}

    @property
    def states(self) -> list[bool]:
        return [each for each in self.events if isinstance(each, bool)]

    def active(self) -> bool:
        return self.tracking is not None and self.tracking.active

    def inactive(self) -> bool:
        return not self.active()

    def listener(self) -> InvalidationListener:
        return InvalidationListener(
            lambda: self._record(True), self.events.extend, lambda confirmed_until: self._record(False)
        )

    def _record(self, active: bool) -> None:
        assert self.tracking is None or self.tracking.active is active
        self.events.append(active)


@asynccontextmanager
async def tracked(redis: Redis, *prefixes: bytes) -> AsyncGenerator[RecordedChanges, None]:
    changes = RecordedChanges()
    async with redis.tracking(prefixes or (b"seen:",), changes.listener()) as changes.tracking:
        await until("tracking to be active", changes.active)
        yield changes
    assert changes.inactive()


@pytest.fixture
def long_probe_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the timeout of probes: a server on a busy machine may reply late."""
    monkeypatch.setattr(push_connection, "PROBE_TIMEOUT", 60.0)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in SERVERS])
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Start a server for a test that stops or changes it."""
    with Server(binary=SERVERS[request.param]) as server:
        yield server


@generous_timeout
async def test_writes_of_all_clients_below_a_prefix_are_reported(redis: Redis, server: Server) -> None:
    async with tracked(redis, b"seen:", b"too:") as changes:
        server.cli("SET", "seen:theirs", "x")
        server.cli("SET", "other:theirs", "x")
        await redis.set("seen:own", "x")
        await redis.set("too:short", "x", ttl=0.01)
        await redis.delete("seen:theirs")
        await until("the last change", lambda: changes.events.count(b"seen:theirs") == 2)
        await until("the expiry", lambda: changes.events.count(b"too:short") == 2)
        assert changes.keys == {b"seen:theirs", b"seen:own", b"too:short"}
        assert changes.states == [True]


@generous_timeout
async def test_a_flushall_restarts_tracking(redis: Redis, server: Server) -> None:
    async with tracked(redis) as changes:
        await redis.set("seen:own", "x")
        await until("the key", lambda: changes.keys)
        server.cli("FLUSHALL")
        await until("the flush", lambda: changes.states == [True, False, True])
        assert changes.active()


@generous_timeout
async def test_a_killed_connection_is_reported_and_opened_again(redis: Redis, server: Server) -> None:
    async with tracked(redis) as changes:
        server.cli("CLIENT", "KILL", "TYPE", "normal")
        await until("the loss and the recovery", lambda: changes.states == [True, False, True])
        server.cli("SET", "seen:after", "x")
        await until("the write after it", lambda: changes.keys == {b"seen:after"})


@generous_timeout
async def test_a_reset_connection_is_reported_before_later_changes(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis, tracked(redis) as changes:
        proxy.refuses = True
        proxy.cut()
        await until("the loss", changes.inactive)
        server.cli("SET", "seen:meanwhile", "x")
        proxy.refuses = False
        await until("the recovery", changes.active)
        assert changes.events == [True, False, True]


async def test_a_silent_connection_is_detected(server: Server, connections: Connections) -> None:
    async with open_proxy(server.port) as proxy, connections.open(proxy.url) as redis, tracked(redis) as changes:
        proxy.open.clear()
        await until("the loss", changes.inactive)
        proxy.open.set()
        await until("the recovery", changes.active)
        server.cli("SET", "seen:after", "x")
        await until("the write after it", lambda: b"seen:after" in changes.keys)


async def test_a_hanging_server_is_detected(own_server: Server, connections: Connections) -> None:
    async with connections.open(own_server.url) as redis, tracked(redis) as changes:
        own_server.pause()
        try:
            await until("the loss", changes.inactive)
        finally:
            own_server.resume()
        await until("the recovery", changes.active)


@generous_timeout
async def test_tracking_resumes_on_a_restarted_server(own_server: Server, connections: Connections) -> None:
    async with connections.open(own_server.url) as redis, tracked(redis) as changes:
        await asyncio.to_thread(own_server.kill)
        await until("the loss", lambda: changes.states == [True, False])
        own_server.start()
        await until("the recovery", changes.active)
        own_server.cli("SET", "seen:after", "x")
        await until("the write after it", lambda: changes.keys == {b"seen:after"})


async def test_tracking_ends_when_the_server_becomes_a_replica(own_server: Server, connections: Connections) -> None:
    async with connections.open(own_server.url) as redis, tracked(redis) as changes:
        own_server.cli("REPLICAOF", HOST, "1")
        await until("the loss", lambda: changes.states[:2] == [True, False])


async def test_without_the_permission_to_track_tracking_never_becomes_active(
    own_server: Server, connections: Connections
) -> None:
    own_server.cli("ACL", "SETUSER", "plain", "on", ">secret", "~*", "+@all", "-client|tracking")
    async with connections.open(f"redis://plain:secret@{HOST}:{own_server.port}") as redis:
        changes = RecordedChanges()
        async with redis.tracking([b"seen:"], changes.listener()) as tracking:
            await redis.set("seen:own", "x")
            assert not tracking.active
            assert changes.events == []
            own_server.cli("ACL", "SETUSER", "plain", "+client|tracking")
            await until("the permission", lambda: tracking.active)


@generous_timeout
async def test_every_server_of_a_cluster_is_tracked(cluster: RedisCluster, connections: Connections) -> None:
    async with connections.open(cluster_url(cluster), timeout=5) as redis, tracked(redis) as changes:
        await asyncio.gather(*(redis.set(f"seen:{number}", "x") for number in range(50)))
        await until("all keys", lambda: len(changes.keys) == 50)
        assert changes.states == [True]


async def test_tracking_follows_a_planned_failover(cluster: RedisCluster, connections: Connections) -> None:
    async with connections.open(cluster_url(cluster), timeout=5) as redis, tracked(redis) as changes:
        before = cluster.owner("seen:1")
        await asyncio.to_thread(cluster.hand_over, "seen:1")
        await until("the change", lambda: changes.states[:3] == [True, False, True] and changes.active())
        changes.events.clear()
        after = cluster.owner("seen:1")
        assert after is not before
        after.cli("SET", "seen:1", "by another")
        await until("the write", lambda: b"seen:1" in changes.keys)


async def test_a_killed_master_is_reported_and_its_replica_is_tracked(
    cluster: RedisCluster, connections: Connections
) -> None:
    async with connections.open(cluster_url(cluster)) as redis, tracked(redis) as changes:
        victim, replica = cluster.owner("seen:1"), cluster.replica("seen:1")
        await asyncio.to_thread(victim.kill)
        await until("the loss", lambda: False in changes.states)
        await until_available(lambda: redis.set("seen:1", "new"))
        await until("the recovery", changes.active)
        replica.cli("SET", "seen:1", "by another")
        await until("the write", lambda: b"seen:1" in changes.keys)
    await asyncio.to_thread(cluster.start)


@generous_timeout
async def test_with_replica_reads_the_replica_reports_a_change_again(
    cluster: RedisCluster, connections: Connections
) -> None:
    async with (
        connections.open(cluster_url(cluster), timeout=5, replica_reads=True) as redis,
        tracked(redis) as changes,
    ):
        await redis.set("seen:1", "x")
        await until("master and replica", lambda: changes.events.count(b"seen:1") == 2)


@pytest.mark.needs("redis")
async def test_a_server_that_receives_its_first_slot_is_tracked(connections: Connections) -> None:
    with RedisCluster() as cluster, ClusterNode() as fresh:
        async with connections.open(cluster_url(cluster), timeout=5) as redis, tracked(redis) as changes:
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
            await until("the change", lambda: False in changes.states and changes.active())
            changes.events.clear()
            assert fresh.cli("SET", "seen:1", "by another") == "OK"
            await until("the write", lambda: b"seen:1" in changes.keys)


def state(node: ClusterNode) -> str:
    return node.cli("CLUSTER", "INFO").partition("\n")[0]
