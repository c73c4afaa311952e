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
    disconnected, left = asyncio.timeout(None), False

    def leave(watching: asyncio.Task[None]) -> None:
        if not left and not watching.cancelled():
            disconnected.reschedule(loop.time())

    watching = asyncio.create_task(_wait_for_disconnect(receive))
    try:
        async with disconnected:
            watching.add_done_callback(leave)
            try:
                yield
            finally:
                left = True
    except TimeoutError:
        if not disconnected.expired():
            raise
    finally:
        watching.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] not in DISCONNECTED:
        pass
