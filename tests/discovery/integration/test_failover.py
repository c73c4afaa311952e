"""Calls under load while instances are killed, hang or become unready: retries succeed on the others."""

from __future__ import annotations

from asyncio import gather

import aiohttp
import pytest

from tests.discovery.harness import CallLoad, StockService, open_services, wait_until

pytestmark = pytest.mark.anyio


async def test_a_killed_instance_fails_only_the_calls_in_flight_at_it() -> None:
    with StockService() as first, StockService() as second, StockService() as third:
        urls = [first.url, second.url, third.url]
        async with open_services(services={"inventory": urls}) as directory:
            load = CallLoad(directory.client("inventory"))
            async with load.running(callers=8):
                await load.wait_for_pids(3)
                first.kill()
                await load.wait_calls(300)
                # responses of the killed instance may break off in their body
                assert len(load.errors) <= 8, load.errors
                before = len(load.errors)
                await load.wait_calls(1000)
            assert load.errors[before:] == []
            assert set(load.statuses) == {200}


async def test_a_hanging_instance_fails_no_call() -> None:
    with StockService() as first, StockService() as second, StockService() as third:
        async with open_services(services={"inventory": [first.url, second.url, third.url]}) as directory:
            load = CallLoad(directory.client("inventory"))
            async with load.running():
                await load.wait_for_pids(3)
                first.pause()
                await load.wait_calls(1500)
            first.resume()
            assert load.errors == []
            assert set(load.statuses) == {200}


async def test_an_unready_instance_fails_no_call_and_is_ejected() -> None:
    with StockService() as first, StockService() as second:
        async with open_services(services={"inventory": [first.url, second.url]}, ejection_time="1h") as directory:
            load = CallLoad(directory.client("inventory"))
            async with load.running():
                await load.wait_for_pids(2)
                first.turn_unready()
                await load.wait_calls(500)
                before = first.calls
                await load.wait_calls(500)
            assert load.errors == []
            assert set(load.statuses) == {200}
            assert first.calls == before


async def test_a_restarted_instance_gets_calls_again() -> None:
    with StockService() as first, StockService() as second:
        async with open_services(services={"inventory": [first.url, second.url]}, ejection_time="500ms") as directory:
            load = CallLoad(directory.client("inventory"))
            async with load.running():
                await load.wait_for_pids(2)
                first.kill()
                await load.wait_calls(500)
                await wait_until(first.start)
                await load.wait_for_pids(3)


async def test_a_post_is_retried_only_when_it_could_not_be_sent() -> None:
    with StockService() as first, StockService() as second:
        first.turn_unready()
        async with open_services(
            services={"inventory": [first.url, second.url]}, consecutive_failures=1000
        ) as directory:
            client = directory.client("inventory")
            posts = [(await client.post("/stock", json={})).status for _ in range(40)]
            assert set(posts) == {200, 503}
            assert first.calls + second.calls == 40
            assert {(await client.put("/stock", json={})).status for _ in range(20)} == {200}
            first.kill()
            assert {(await client.post("/stock", json={})).status for _ in range(20)} == {200}


async def test_an_idle_connection_that_was_closed_loses_no_post() -> None:
    with StockService() as stock:
        async with open_services(services={"inventory": [stock.url]}, max_retries=0) as directory:
            client = directory.client("inventory")
            pids = set()
            for _ in range(2):
                pids |= {await pid_of(response) for response in await gather(*map(client.post, ["/stock"] * 5))}
                stock.kill()
                stock.start()  # the event loop has not processed the closed connections yet
            assert (await client.post("/stock")).status == 200
            assert len(pids) == 2


async def pid_of(response: aiohttp.ClientResponse) -> int:
    return int((await response.json())["pid"])
