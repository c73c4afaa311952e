"""Calls under load while instances die, hang and turn unready: those that may be repeated succeed on the others."""

from __future__ import annotations

from asyncio import gather

import aiohttp
import pytest

from tests.discovery.harness import Load, Stock, services, until

pytestmark = pytest.mark.anyio


async def test_an_instance_that_is_killed_fails_no_call_but_those_that_it_had() -> None:
    with Stock() as first, Stock() as second, Stock() as third:
        urls = [first.url, second.url, third.url]
        async with services(services={"inventory": urls}) as found:
            load = Load(found.client("inventory"))
            async with load.running(callers=8):
                await load.wait_for_pids(3)
                first.kill()
                await load.go_on_for(300)
                # what was open at the killed one may have been broken off inside its answer
                assert len(load.errors) <= 8, load.errors
                before = len(load.errors)
                await load.go_on_for(1000)
            assert load.errors[before:] == []
            assert set(load.answers) == {200}


async def test_an_instance_that_hangs_fails_no_call() -> None:
    with Stock() as first, Stock() as second, Stock() as third:
        async with services(services={"inventory": [first.url, second.url, third.url]}) as found:
            load = Load(found.client("inventory"))
            async with load.running():
                await load.wait_for_pids(3)
                first.pause()
                await load.go_on_for(1500)
            first.resume()
            assert load.errors == []
            assert set(load.answers) == {200}


async def test_an_instance_that_turns_unready_fails_no_call_and_is_left_out() -> None:
    with Stock() as first, Stock() as second:
        async with services(services={"inventory": [first.url, second.url]}, ejection="1h") as found:
            load = Load(found.client("inventory"))
            async with load.running():
                await load.wait_for_pids(2)
                first.turn_unready()
                await load.go_on_for(500)
                before = first.calls
                await load.go_on_for(500)
            assert load.errors == []
            assert set(load.answers) == {200}
            assert first.calls == before


async def test_an_instance_that_comes_back_gets_calls_again() -> None:
    with Stock() as first, Stock() as second:
        async with services(services={"inventory": [first.url, second.url]}, ejection="500ms") as found:
            load = Load(found.client("inventory"))
            async with load.running():
                await load.wait_for_pids(2)
                first.kill()
                await load.go_on_for(500)
                await until(first.start)
                await load.wait_for_pids(3)


async def test_a_call_that_may_not_be_repeated_is_not_but_one_that_was_not_sent_is() -> None:
    with Stock() as first, Stock() as second:
        first.turn_unready()
        async with services(services={"inventory": [first.url, second.url]}, failures=1000) as found:
            client = found.client("inventory")
            posts = [(await client.post("/stock", json={})).status for _ in range(40)]
            assert set(posts) == {200, 503}
            assert first.calls + second.calls == 40
            assert {(await client.put("/stock", json={})).status for _ in range(20)} == {200}
            first.kill()
            assert {(await client.post("/stock", json={})).status for _ in range(20)} == {200}


async def test_a_connection_that_ended_while_it_was_kept_loses_no_post() -> None:
    with Stock() as stock:
        async with services(services={"inventory": [stock.url]}, retries=0) as found:
            client = found.client("inventory")
            pids = set()
            for _ in range(2):
                pids |= {await pid_of(response) for response in await gather(*map(client.post, ["/stock"] * 5))}
                stock.kill()
                stock.start()  # the event loop has had no turn to see that the connections have ended
            assert (await client.post("/stock")).status == 200
            assert len(pids) == 2


async def pid_of(response: aiohttp.ClientResponse) -> int:
    return int((await response.json())["pid"])
