"""End a stream of messages when its client disconnects: an idle stream sends nothing that would fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.types import Receive

DISCONNECTED = ("http.disconnect", "websocket.disconnect")


@asynccontextmanager
async def disconnect_timeout(receive: Receive) -> AsyncGenerator[None, None]:
    """Leave the block when the client disconnects; messages that it sends are dropped."""
    loop = asyncio.get_running_loop()
    watching: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(None) as scope:
            watching = asyncio.create_task(_wait_for_disconnect(receive))
            watching.add_done_callback(lambda task: None if task.cancelled() else scope.reschedule(loop.time()))
            yield
    except TimeoutError:
        if not scope.expired():
            raise
    finally:
        if watching is not None:
            watching.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] not in DISCONNECTED:
        pass
