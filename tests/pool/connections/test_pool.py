from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from scalekit import Unavailable
from scalekit.telemetry import Telemetry
from scalekit_pool.connections import lifecycle
from scalekit_pool.connections import pool as pool_module
from scalekit_pool.connections.lifecycle import PooledConnection, PoolLimits
from scalekit_pool.connections.pool import ConnectionPool
from scalekit_pool.metrics import ConnectionMetrics
from tests.pool.harness import wait_until

pytestmark = pytest.mark.anyio


class FakeConnector:
    """Opens numbers as connections, while *may_open* is set; those in *lost* are closed."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed: list[int] = []
        self.lost: set[int] = set()
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.error: Exception | None = None

    async def open(self) -> int:
        await self.may_open.wait()
        if self.error:
            raise self.error
        self.opened += 1
        return self.opened

    def is_open(self, connection: int) -> bool:
        return connection not in self.lost

    async def reset(self, connection: int) -> None:
        if connection in self.lost:
            raise ValueError

    async def close(self, connection: int) -> None:
        self.closed.append(connection)

    def explain(self, error: Exception) -> str:
        return f"explained: {error}"

    async def stop(self) -> None:
        pass


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Any, None]:
    monkeypatch.setattr(pool_module, "MAINTENANCE_INTERVAL", 0.01)
    made: list[ConnectionPool[int]] = []

    async def build(connector: FakeConnector, **limits: Any) -> ConnectionPool[int]:
        pool = ConnectionPool("things", connector, PoolLimits(**limits), ConnectionMetrics(Telemetry(100), "things"))
        made.append(pool)
        await pool.start()
        return pool

    yield build
    for pool in made:
        await pool.stop()
        assert pool.supplier.size == 0


async def acquire_many(pool: ConnectionPool[int], count: int) -> list[PooledConnection[int]]:
    return [await pool.acquire() for _ in range(count)]


async def test_there_are_never_more_than_max_size_connections(make: Any) -> None:
    connector = FakeConnector()
    pool = await make(connector, max_size=3)
    most = 0

    async def use() -> None:
        nonlocal most
        pooled = await pool.acquire()
        most = max(most, pool.supplier.size)
        await asyncio.sleep(0)
        (pool.release if pooled.connection % 2 else pool.reset_and_release)(pooled)

    await asyncio.gather(*(use() for _ in range(100)))
    assert (most, connector.opened) == (3, 3)
    assert (pool.idle, pool.waiting) == (3, 0)


async def test_waiting_tasks_are_served_first_in_first_out(make: Any) -> None:
    pool = await make(FakeConnector(), max_size=1)
    acquired = await pool.acquire()
    served: list[int] = []

    async def use(number: int) -> None:
        pooled = await pool.acquire()
        served.append(number)
        pool.release(pooled)

    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(use(number)))
        await wait_until(lambda number=number: pool.waiting == number + 1)  # type: ignore[misc]
    pool.release(acquired)
    late = asyncio.create_task(use(20))
    await asyncio.gather(*tasks, late)
    assert served == list(range(21))


async def test_more_than_max_waiting_tasks_are_refused_at_once(make: Any) -> None:
    pool = await make(FakeConnector(), max_size=1, max_waiting=2)
    acquired = await pool.acquire()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await wait_until(lambda: pool.waiting == 2)
    refused = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert refused.done()
    with pytest.raises(Unavailable, match="2 requests wait for a connection to things already: all 1 connec"):
        refused.result()
    pool.release(acquired)
    pool.release(await waiting[0])
    pool.release(await waiting[1])


async def test_with_max_waiting_zero_connections_are_still_opened(make: Any) -> None:
    pool = await make(FakeConnector(), max_size=2, max_waiting=0)
    acquired = await acquire_many(pool, 2)
    with pytest.raises(Unavailable, match="0 requests wait for a connection"):
        await pool.acquire()
    for pooled in acquired:
        pool.release(pooled)


async def test_a_timed_out_acquire_names_the_reason(make: Any) -> None:
    connector = FakeConnector()
    pool = await make(connector, max_size=1, acquire_timeout=0.01)
    acquired = await pool.acquire()
    with pytest.raises(Unavailable, match=r"no connection to things within acquire_timeout 0.01s: all 1 ") as raised:
        await pool.acquire()
    assert (raised.value.status_code, raised.value.headers) == (503, {"Retry-After": "1"})
    assert pool.waiting == 0
    connector.error = OSError("unreachable")
    connector.lost.add(acquired.connection)
    pool.release(acquired)
    await wait_until(lambda: bool(pool.supplier.last_error))
    with pytest.raises(Unavailable, match=r"within acquire_timeout 0.01s: explained: unreachable"):
        await pool.acquire()
    connector.error = None
    await wait_until(lambda: pool.idle == 1)


async def test_idle_connections_above_min_size_are_closed(make: Any) -> None:
    connector = FakeConnector()
    pool = await make(connector, min_size=2, max_size=6, idle_timeout=0.01)
    for pooled in await acquire_many(pool, 6):
        pool.release(pooled)
    await wait_until(lambda: pool.supplier.size == 2)
    assert pool.idle == 2
    assert len(connector.closed) == 4


async def test_connections_do_not_live_for_ever_nor_end_together(make: Any) -> None:
    connector = FakeConnector()
    pool = await make(connector, min_size=20, max_size=20, max_lifetime=100.0)
    await wait_until(lambda: pool.idle == 20)
    now = asyncio.get_running_loop().time()
    lives = [pooled.expires_at - now for pooled in pool._idle]
    assert min(lives) > 89
    assert max(lives) <= 100
    assert max(lives) - min(lives) > 1
    oldest = [pooled for pooled in pool._idle if pooled.connection <= 5]
    for pooled in oldest:
        pooled.expires_at = now
    await wait_until(lambda: set(connector.closed) == {1, 2, 3, 4, 5} and pool.idle == 20)
    last = pool._idle[-1]
    last.expires_at = now
    other = await pool.acquire()
    assert other.connection != last.connection
    pool.release(other)
    await wait_until(lambda: last.connection in connector.closed)


async def test_min_size_is_kept_open(make: Any) -> None:
    connector = FakeConnector()
    pool = await make(connector, min_size=5, max_size=8)
    await wait_until(lambda: pool.idle == 5)
    assert connector.opened == 5
    connector.lost |= {1, 2, 3, 4, 5}
    await wait_until(lambda: pool.idle == 5 and connector.opened == 10)
    acquired = await acquire_many(pool, 5)
    connector.lost |= {pooled.connection for pooled in acquired}
    for pooled in acquired[:3]:
        pool.release(pooled)
    for pooled in acquired[3:]:
        pool.reset_and_release(pooled)
    await wait_until(lambda: pool.idle == 5 and connector.opened == 15)
    pool.invalidate_all()
    await wait_until(lambda: pool.idle == 5 and connector.opened == 20)


async def test_a_waiting_task_gets_a_new_connection_for_a_lost_one(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAINTENANCE_INTERVAL", 3600)
    connector = FakeConnector()
    pool = await make(connector, max_size=1)
    for release in (pool.release, pool.reset_and_release):
        acquired = await pool.acquire()
        waiting = asyncio.create_task(pool.acquire())
        await wait_until(lambda: pool.waiting == 1)
        connector.lost.add(acquired.connection)
        release(acquired)
        pool.release(await waiting)
    assert connector.opened == 3


async def test_a_connection_acquired_before_invalidate_all_is_closed(make: Any) -> None:
    connector = FakeConnector()
    pool = await make(connector, min_size=1, max_size=2)
    first, second = await acquire_many(pool, 2)
    pool.invalidate_all()
    pool.release(first)
    pool.reset_and_release(second)
    await wait_until(lambda: pool.idle == 1)
    assert sorted(connector.closed) == [1, 2]


async def test_a_connect_timeout_is_retried(make: Any) -> None:
    connector = FakeConnector()
    pool = await make(connector, max_size=2, connect_timeout=0.01)
    acquired = await pool.acquire()
    connector.may_open.clear()
    waiting = asyncio.create_task(pool.acquire())
    await wait_until(lambda: pool.supplier.last_error == "no response within connect_timeout 0.01s")
    connector.may_open.set()
    pool.release(await waiting)
    assert pool.supplier.last_error == ""
    pool.release(acquired)


async def test_waiting_tasks_are_refused_when_the_pool_stops(make: Any) -> None:
    connector = FakeConnector()
    pool = await make(connector, max_size=1)
    acquired = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await wait_until(lambda: pool.waiting == 1)
    stopping = asyncio.create_task(pool.stop())
    with pytest.raises(Unavailable, match="has stopped"):
        await waiting
    pool.release(acquired)
    await stopping
    assert connector.closed == [1]
    with pytest.raises(Unavailable, match="not open"):
        await pool.acquire()


async def test_the_stop_waits_for_connections_in_use(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    connector = FakeConnector()
    pool = await make(connector, max_size=2)
    first, second = await acquire_many(pool, 2)
    stopping = asyncio.create_task(pool.stop())
    await asyncio.sleep(0)
    pool.release(first)
    await wait_until(lambda: connector.closed == [1])
    pool.reset_and_release(second)
    await stopping
    assert sorted(connector.closed) == [1, 2]
    assert not caplog.messages


async def test_connections_that_stay_in_use_are_closed_once(
    make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lifecycle, "RELEASE_TIMEOUT", 0.01)
    connector = FakeConnector()
    pool = await make(connector, max_size=2)
    acquired = await acquire_many(pool, 2)
    await pool.stop()
    assert sorted(connector.closed) == [1, 2]
    assert [message.partition(" that")[0] for message in caplog.messages] == ["closing a connection to things"] * 2
    pool.release(acquired[0])
    pool.reset_and_release(acquired[1])
    await asyncio.sleep(0)
    assert (len(connector.closed), pool.supplier.size) == (2, 0)
