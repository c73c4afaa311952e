"""Receive the notifications of a channel on a connection that is used for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scalekit import Unavailable
from scalekit_pool.connections.driver import RawConnection
from scalekit_pool.connections.pool import ConnectionPool

CHECK_INTERVAL = 10.0
"""Seconds between two checks whether the connection still works: a server that is gone without a word sends nothing."""
CHECK_TIMEOUT = 5.0
"""Seconds in which the server must respond to a check."""


async def listen(pool: ConnectionPool[RawConnection], channel: str, on_payload: Callable[[str], None]) -> None:
    """Call *on_payload* with each payload that is notified on *channel*, until cancelled; hold a connection of *pool*.

    Raises Unavailable when the connection is lost, and RuntimeError when the pool has no other one.
    """
    if pool.limits.max_size < 2:
        raise RuntimeError(f"listening on {channel} holds a connection of the pool; set max_size to 2 or more")
    pooled = await pool.acquire()
    try:
        await _listen(pooled.connection, channel, on_payload)
    finally:
        pool.reset_and_release(pooled)


async def _listen(connection: RawConnection, channel: str, on_payload: Callable[[str], None]) -> None:
    lost = asyncio.Event()

    def on_notification(connection: RawConnection, pid: int, channel: str, payload: str) -> None:
        on_payload(payload)

    def on_termination(connection: RawConnection) -> None:
        lost.set()

    connection.add_termination_listener(on_termination)
    try:
        await connection.add_listener(channel, on_notification)
        while not await _occurs(lost, CHECK_INTERVAL):
            await connection.fetchval("SELECT 1", timeout=CHECK_TIMEOUT)
    except Exception as error:  # a connection is lost in many ways, also while it begins to listen
        raise Unavailable(f"the connection that listens on {channel} was lost: {error}") from error
    finally:
        connection.remove_termination_listener(on_termination)
    raise Unavailable(f"the connection that listens on {channel} was lost")


async def _occurs(event: asyncio.Event, timeout: float) -> bool:
    try:
        async with asyncio.timeout(timeout):
            return await event.wait()
    except TimeoutError:
        return False
