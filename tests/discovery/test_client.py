"""What a call takes along, and what it gives back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from time import time
from typing import Any

import aiohttp
import pytest

from scalekit import create_app
from scalekit.contracts import SERVICES
from scalekit.errors import Unavailable
from scalekit.http.deadline import DEADLINE
from scalekit.testing import request, running
from scalekit_discovery.responses import CallFailed
from scalekit_discovery.upstream import NoHealthyInstance
from tests.discovery.harness import Stock, services
from tests.processes import HOST, free_ports
from tests.workers import sockets_of

pytestmark = pytest.mark.anyio

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def stock() -> Iterator[Stock]:
    with Stock() as stock:
        yield stock


async def proxy(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what the inventory saw of the call that is made on behalf of the request."""
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    async with scope["scalekit"].get(SERVICES).client("inventory").get("/stock") as answer:
        body = await answer.read()
    await send({"type": "http.response.start", "status": answer.status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def seen_by(stock: Stock, **headers: str) -> dict[str, str]:
    """Return the headers of a call on behalf of a request that has *headers*."""
    app = create_app({"plugins": {"discovery": {"services": {"inventory": [stock.url]}}}}, app=proxy)
    async with running(app) as state:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await request(app, "/", headers=named, state=state)
    assert answer.status == 200
    seen: dict[str, str] = json.loads(answer.body)["headers"]
    return seen


async def test_the_trace_and_the_id_of_the_request_are_passed_on(stock: Stock) -> None:
    given = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "a=1", "x_request_id": "order-7"}
    seen = await seen_by(stock, **given)
    version, trace, span, flags = seen["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert re.fullmatch("[0-9a-f]{16}", span)
    assert span != "00f067aa0ba902b7"
    assert (seen["tracestate"], seen["x-request-id"]) == ("a=1", "order-7")


async def test_the_deadline_is_the_own_one_or_what_is_left_of_the_callers(stock: Stock) -> None:
    assert 5_000 < int((await seen_by(stock))["x-request-timeout-ms"]) <= 10_000
    assert 0 < int((await seen_by(stock, x_request_timeout_ms="4000"))["x-request-timeout-ms"]) <= 4_000
    assert 5_000 < int((await seen_by(stock, x_request_timeout_ms="99999"))["x-request-timeout-ms"]) <= 10_000
    assert 5_000 < int((await seen_by(stock, x_request_timeout_ms="soon"))["x-request-timeout-ms"]) <= 10_000


async def test_a_caller_that_waits_no_longer_gets_503_and_nothing_is_called(stock: Stock) -> None:
    before = stock.calls
    app = create_app({"plugins": {"discovery": {"services": {"inventory": [stock.url]}}}}, app=proxy)
    async with running(app) as state:
        answer = await request(app, "/", headers={"x-request-timeout-ms": "0"}, state=state)
    assert answer.status == 503
    assert stock.calls == before


async def test_a_call_on_behalf_of_a_message_takes_no_longer_than_that_is_of_use(stock: Stock) -> None:
    async with services(services={"inventory": [stock.url]}) as live:
        client = live.client("inventory")
        DEADLINE.set(time() + 4)
        seen = (await (await client.get("/stock")).json())["headers"]
        assert 0 < int(seen["x-request-timeout-ms"]) <= 4_000
        DEADLINE.set(time() - 0.001)
        before = stock.calls
        with pytest.raises(CallFailed, match="whoever waits for the call has no more time"):
            await client.get("/stock")
        assert stock.calls == before


async def test_callers_who_do_not_wait_do_not_shut_an_instance_out(stock: Stock) -> None:
    async with services(services={"inventory": [stock.url]}, failures=2) as live:
        client = live.client("inventory")
        before = stock.calls
        for number in range(4):
            deadline = DEADLINE.set(time() + 0.1)
            with pytest.raises(CallFailed, match="whoever waits for the call has no more time"):
                await client.get("/slow", params={"seconds": "60"})
            DEADLINE.reset(deadline)
            assert stock.calls == before + number + 1, "it was asked"
        assert (await client.get("/stock")).status == 200


async def test_a_503_for_want_of_the_callers_time_does_not_shut_an_instance_out() -> None:
    with Stock() as short_of_time:
        short_of_time.turn_unready()
        async with services(services={"inventory": [short_of_time.url]}, failures=2) as live:
            client = live.client("inventory")
            for _ in range(4):
                deadline = DEADLINE.set(time() + 0.04)
                with suppress(CallFailed):  # on a busy machine not even that comes in time
                    assert (await client.get("/stock")).status == 503
                DEADLINE.reset(deadline)
            assert [(await client.get("/stock")).status for _ in range(2)] == [503, 503]
            with pytest.raises(NoHealthyInstance, match="every instance fails"):
                await client.get("/stock")


async def test_an_instance_that_does_not_answer_in_the_time_of_the_call_is_shut_out(stock: Stock) -> None:
    async with services(services={"inventory": [stock.url]}, failures=2) as live:
        client = live.client("inventory")
        for _ in range(2):
            with pytest.raises(CallFailed, match="it did not answer in time"):
                await client.get("/slow", params={"seconds": "60"}, timeout=0.1)
        with pytest.raises(NoHealthyInstance, match="every instance fails"):
            await client.get("/stock")


async def test_the_only_instance_is_waited_for_and_asked_once(stock: Stock) -> None:
    async with services(services={"inventory": [stock.url]}, attempt_timeout="100ms") as live:
        before = stock.calls
        answer = await live.client("inventory").get("/slow", params={"seconds": "0.5"})
        assert await answer.text() == "at last"
        assert stock.calls == before + 1


@pytest.mark.parametrize(("seconds", "what"), [("60", "did not come in time"), ("0.1", "broke off")])
async def test_an_answer_that_does_not_come_to_its_end_is_a_503(stock: Stock, seconds: str, what: str) -> None:
    async with services(services={"inventory": [stock.url]}) as live:
        answer = await live.client("inventory").get("/breaking", params={"seconds": seconds}, timeout=1)
        assert answer.status == 200
        with pytest.raises(CallFailed, match=f"the answer of {HOST}:{stock.port} {what}") as failed:
            await answer.read()
        assert failed.value.status_code == 503


@pytest.mark.parametrize("streams", [False, True])
async def test_an_instance_that_breaks_off_every_body_is_ejected(stock: Stock, streams: bool) -> None:
    async with services(services={"inventory": [stock.url]}, failures=2) as live:
        client = live.client("inventory")
        for _ in range(2):
            answer = await client.get("/breaking", params={"seconds": "0.01"})
            with pytest.raises(aiohttp.ClientError):
                await (answer.content if streams else answer).read()
            answer.close()
        with pytest.raises(NoHealthyInstance, match="every instance fails"):
            await client.get("/stock")


@pytest.mark.parametrize("leave", ["release", "close"])
async def test_a_caller_that_leaves_before_the_end_of_the_body_ejects_no_instance(stock: Stock, leave: str) -> None:
    async with services(services={"inventory": [stock.url]}, failures=1) as live:
        client = live.client("inventory")
        for _ in range(3):
            answer = await client.get("/breaking", params={"seconds": "60"})
            getattr(answer, leave)()
        assert (await client.get("/stock")).status == 200


async def test_a_redirect_is_given_to_the_caller_and_never_followed_out_of_the_service(stock: Stock) -> None:
    with Stock() as elsewhere:
        async with services(services={"inventory": [stock.url]}) as live:
            client = live.client("inventory")
            for method in ("get", "post", "head"):
                answer = await getattr(client, method)("/moved", params={"to": f"{elsewhere.url}/stock"})
                assert answer.status == (405 if method == "post" else 307)
            answer = await client.get("/moved", params={"to": f"{elsewhere.url}/stock"})
            assert answer.headers["location"] == f"{elsewhere.url}/stock"
            with pytest.raises(ValueError, match="leave allow_redirects out and read the Location header"):
                await client.get("/moved", params={"to": "/stock"}, allow_redirects=True)
        assert elsewhere.calls == 0


async def test_options_are_aiohttps_and_so_is_the_answer(stock: Stock) -> None:
    async with services(services={"inventory": [stock.url]}) as live:
        client = live.client("inventory")
        async with client.post("/stock", json={"a": 1}, headers={"X-Mine": "1"}, params={"q": "x"}) as answer:
            assert isinstance(answer, aiohttp.ClientResponse)
            assert (await answer.json())["headers"]["x-mine"] == "1"
            assert answer.url.query["q"] == "x"
        for method in ("get", "head", "options", "put", "patch", "delete"):
            assert (await getattr(client, method)("/stock")).status in (200, 405)
        with pytest.raises(ValueError, match="a path begins with /"):
            await client.get("http://elsewhere.example/")


async def test_connections_are_reused_and_bounded(stock: Stock) -> None:
    async with services(services={"inventory": [stock.url]}, max_connections=5) as live:
        client = live.client("inventory")
        await (await client.get("/stock")).read()
        before = sockets_of(stock.pid)
        for _ in range(30):
            await (await client.get("/stock")).read()
        assert sockets_of(stock.pid) == before
        answers = await asyncio.gather(*(client.get("/stock") for _ in range(60)))
        assert {answer.status for answer in answers} == {200}
        assert sockets_of(stock.pid) <= before + 4


async def test_a_service_that_is_gone_is_a_503_and_an_error_of_aiohttp_at_once() -> None:
    (port,) = free_ports(1)
    async with services(services={"inventory": [f"http://{HOST}:{port}"]}) as live:
        with pytest.raises(
            CallFailed, match=f"inventory: instance {HOST}:{port} failed: ClientConnectorError"
        ) as caught:
            await live.client("inventory").get("/")
        assert isinstance(caught.value, Unavailable)
        assert isinstance(caught.value, aiohttp.ClientError)
        for _ in range(5):
            with pytest.raises(aiohttp.ClientError):
                await live.client("inventory").get("/")
        with pytest.raises(Unavailable, match="every instance fails"):
            await live.client("inventory").get("/")


async def test_retries_stay_within_their_budget() -> None:
    with Stock() as first, Stock() as second:
        first.turn_unready()
        second.turn_unready()
        table = {"services": {"inventory": [first.url, second.url]}, "retry_budget": 0.0}
        async with services(**table, failures=10_000) as live:
            statuses = [(await live.client("inventory").get("/stock")).status for _ in range(20)]
        assert statuses == [503] * 20
        assert first.calls + second.calls == 20


async def test_far_too_many_names_are_a_mistake_of_the_code() -> None:
    async with services() as live:
        for number in range(256):
            live.client(f"s{number}")
        with pytest.raises(ValueError, match="names come from code"):
            live.client("one more")
