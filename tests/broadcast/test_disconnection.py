"""A block is left when the client disconnects, and only then."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from scalekit_broadcast.disconnection import disconnect_timeout

pytestmark = pytest.mark.anyio


class Client:
    """A client whose messages a test puts into a queue."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()

    async def receive(self) -> Message:
        return await self.messages.get()

    def send(self, kind: str) -> None:
        self.messages.put_nowait({"type": kind})


@pytest.mark.parametrize("kind", ["http.disconnect", "websocket.disconnect"])
async def test_a_disconnect_ends_the_block(kind: str) -> None:
    client = Client()
    client.send("http.request")
    client.send(kind)
    async with disconnect_timeout(client.receive):
        await asyncio.sleep(60)
        raise AssertionError("not left")


async def test_a_timeout_of_the_block_is_its_own() -> None:
    client = Client()
    with pytest.raises(TimeoutError, match="its own"):
        async with disconnect_timeout(client.receive):
            raise TimeoutError("its own")


async def test_a_cancellation_is_passed_on() -> None:
    async def wait() -> None:
        async with disconnect_timeout(Client().receive):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_disconnect_at_the_end_of_the_block_does_nothing() -> None:
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    before = asyncio.all_tasks()
    client = Client()
    async with disconnect_timeout(client.receive):
        await asyncio.sleep(0)
        client.send("http.disconnect")
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert errors == []
    assert asyncio.all_tasks() == before
