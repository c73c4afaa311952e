"""Messages over websockets of a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import websockets

from tests.broadcast.live_service import APPLICATION, open_websocket, publish, wait_for_subscribers
from tests.service import Service

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service("[plugins.broadcast]\n", {"service": APPLICATION}) as service:
        yield service


async def receive(websocket: websockets.ClientConnection) -> Any:
    async with asyncio.timeout(30):
        return json.loads(await websocket.recv())


async def test_messages_arrive_and_a_client_continues_after_its_last(service: Service, channel: str) -> None:
    async with open_websocket(service, channel) as websocket:
        position = await receive(websocket)
        assert (position.keys(), position["missed"]) == ({"id", "missed"}, 0)
        first = await publish(service, channel, {"a": 1})
        assert await receive(websocket) == {"id": first, "missed": 0, "data": {"a": 1}}
    second = await publish(service, channel, None)
    async with open_websocket(service, channel, first) as websocket:
        assert await receive(websocket) == {"id": first, "missed": 0}
        assert await receive(websocket) == {"id": second, "missed": 0, "data": None}
    async with open_websocket(service, channel, position["id"]) as websocket:
        assert [(await receive(websocket))["id"] for _ in range(3)] == [position["id"], first, second]


async def test_an_id_that_is_no_id_is_a_gap(service: Service, channel: str) -> None:
    async with open_websocket(service, channel, "nonsense%ff%00") as websocket:
        assert await receive(websocket) == {"id": "", "missed": 1}


async def test_a_client_of_a_silent_channel_that_disconnects_is_released(service: Service, channel: str) -> None:
    async with open_websocket(service, channel) as websocket:
        await receive(websocket)
        await websocket.send("dropped")
        await wait_for_subscribers(service, [1, 1])
    await wait_for_subscribers(service, [0, 0])


async def test_a_cut_client_is_released(service: Service, channel: str) -> None:
    websocket = await open_websocket(service, channel)
    await receive(websocket)
    websocket.transport.abort()
    await wait_for_subscribers(service, [0, 0])


async def test_a_drain_closes_the_websocket(channel: str) -> None:
    toml = '[server]\ngraceful_timeout = "60s"\ndrain_delay = "0s"\n[plugins.broadcast]\n'
    with Service(toml, {"service": APPLICATION}) as service:
        async with open_websocket(service, channel) as websocket:
            await receive(websocket)
            service.process.terminate()
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await receive(websocket)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        assert service.wait() == 0
        assert "Traceback" not in service.log()


async def test_a_path_that_names_no_channel_closes_the_websocket(service: Service) -> None:
    async with open_websocket(service, "x" * 201) as websocket:
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await receive(websocket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
    assert "Traceback" not in service.log()
