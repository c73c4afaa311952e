"""Propagation, deadlines, ejection, retries and errors of calls."""

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
from scalekit.http.request_context import DEADLINE
from scalekit.testing import request, running
from scalekit_discovery.responses import CallFailed
from scalekit_discovery.upstream import NoHealthyInstance
from tests.discovery.harness import StockService, open_services
from tests.processes import HOST, free_ports
from tests.workers import sockets_of

pytestmark = pytest.mark.anyio

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def stock() -> Iterator[StockService]:
    with StockService() as stock:
        yield stock


async def proxy(scope: Any, receive: Any, send: Any) -> None:
    """Call the inventory and respond with its response."""
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    async with scope["scalekit"].get(SERVICES).client("inventory").get("/stock") as response:
        body = await response.read()
    await send({"type": "http.response.start", "status": response.status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def seen_by(stock: StockService, **headers: str) -> dict[str, str]:
    """Return the headers of a call during a request with *headers*."""
    app = create_app({"plugins": {"discovery": {"services": {"inventory": [stock.url]}}}}, app=proxy)
    async with running(app) as state:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await request(app, "/", headers=named, state=state)
    assert response.status == 200
    seen: dict[str, str] = json.loads(response.body)["headers"]
    return seen


async def test_trace_context_and_request_id_are_propagated(stock: StockService) -> None:
    sent = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "a=1", "x_request_id": "order-7"}
    seen = await seen_by(stock, **sent)
    version, trace, span, flags = seen["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert re.fullmatch("[0-9a-f]{16}", span)
    assert span != "00f067aa0ba902b7"
    assert (seen["tracestate"], seen["x-request-id"]) == ("a=1", "order-7")


async def test_the_timeout_header_is_the_earlier_of_timeout_and_request_deadline(stock: StockService) -> None:
    assert 5_000 < int((await seen_by(stock))["x-request-timeout-ms"]) <= 10_000
    assert 0 < int((await seen_by(stock, x_request_timeout_ms="4000"))["x-request-timeout-ms"]) <= 4_000
    assert 5_000 < int((await seen_by(stock, x_request_timeout_ms="99999"))["x-request-timeout-ms"]) <= 10_000
    assert 5_000 < int((await seen_by(stock, x_request_timeout_ms="soon"))["x-request-timeout-ms"]) <= 10_000


async def test_a_request_whose_deadline_has_passed_gets_503_and_calls_nothing(stock: StockService) -> None:
    before = stock.calls
    app = create_app({"plugins": {"discovery": {"services": {"inventory": [stock.url]}}}}, app=proxy)
    async with running(app) as state:
        response = await request(app, "/", headers={"x-request-timeout-ms": "0"}, state=state)
    assert response.status == 503
    assert stock.calls == before


async def test_a_call_by_a_message_handler_keeps_the_deadline_of_the_message(stock: StockService) -> None:
    async with open_services(services={"inventory": [stock.url]}) as directory:
        client = directory.client("inventory")
        DEADLINE.set(time() + 4)
        seen = (await (await client.get("/stock")).json())["headers"]
        assert 0 < int(seen["x-request-timeout-ms"]) <= 4_000
        DEADLINE.set(time() - 0.001)
        before = stock.calls
        with pytest.raises(CallFailed, match="the deadline of the request has passed"):
            await client.get("/stock")
        assert stock.calls == before


async def test_expired_request_deadlines_eject_no_instance(stock: StockService) -> None:
    async with open_services(services={"inventory": [stock.url]}, consecutive_failures=2) as directory:
        client = directory.client("inventory")
        before = stock.calls
        for number in range(4):
            deadline = DEADLINE.set(time() + 0.1)
            with pytest.raises(CallFailed, match="the deadline of the request has passed"):
                await client.get("/slow", params={"seconds": "60"})
            DEADLINE.reset(deadline)
            assert stock.calls == before + number + 1, "the instance was called"
        assert (await client.get("/stock")).status == 200


async def test_a_503_close_to_the_request_deadline_ejects_no_instance() -> None:
    with StockService() as short_of_time:
        short_of_time.turn_unready()
        async with open_services(services={"inventory": [short_of_time.url]}, consecutive_failures=2) as directory:
            client = directory.client("inventory")
            for _ in range(4):
                deadline = DEADLINE.set(time() + 0.04)
                with suppress(CallFailed):  # on a busy machine the response itself may be too late
                    assert (await client.get("/stock")).status == 503
                DEADLINE.reset(deadline)
            assert [(await client.get("/stock")).status for _ in range(2)] == [503, 503]
            with pytest.raises(NoHealthyInstance, match="every instance is ejected"):
                await client.get("/stock")


async def test_an_instance_that_exceeds_the_timeout_of_calls_is_ejected(stock: StockService) -> None:
    async with open_services(services={"inventory": [stock.url]}, consecutive_failures=2) as directory:
        client = directory.client("inventory")
        for _ in range(2):
            with pytest.raises(CallFailed, match="timed out"):
                await client.get("/slow", params={"seconds": "60"}, timeout=0.1)
        with pytest.raises(NoHealthyInstance, match="every instance is ejected"):
            await client.get("/stock")


async def test_the_only_instance_gets_one_attempt_until_the_timeout(stock: StockService) -> None:
    async with open_services(services={"inventory": [stock.url]}, attempt_timeout="100ms") as directory:
        before = stock.calls
        response = await directory.client("inventory").get("/slow", params={"seconds": "0.5"})
        assert await response.text() == "at last"
        assert stock.calls == before + 1


@pytest.mark.parametrize(("seconds", "reason"), [("60", "timed out"), ("0.1", "broke off")])
async def test_a_response_body_that_fails_is_a_503(stock: StockService, seconds: str, reason: str) -> None:
    async with open_services(services={"inventory": [stock.url]}) as directory:
        response = await directory.client("inventory").get("/breaking", params={"seconds": seconds}, timeout=1)
        assert response.status == 200
        with pytest.raises(CallFailed, match=f"response body of {HOST}:{stock.port} {reason}") as failed:
            await response.read()
        assert failed.value.status_code == 503


@pytest.mark.parametrize("streams", [False, True])
async def test_an_instance_that_breaks_off_its_bodies_is_ejected(stock: StockService, streams: bool) -> None:
    async with open_services(services={"inventory": [stock.url]}, consecutive_failures=2) as directory:
        client = directory.client("inventory")
        for _ in range(2):
            response = await client.get("/breaking", params={"seconds": "0.01"})
            with pytest.raises(aiohttp.ClientError):
                await (response.content if streams else response).read()
            response.close()
        with pytest.raises(NoHealthyInstance, match="every instance is ejected"):
            await client.get("/stock")


@pytest.mark.parametrize("leave", ["release", "close"])
async def test_a_caller_that_closes_the_response_early_ejects_no_instance(stock: StockService, leave: str) -> None:
    async with open_services(services={"inventory": [stock.url]}, consecutive_failures=1) as directory:
        client = directory.client("inventory")
        for _ in range(3):
            response = await client.get("/breaking", params={"seconds": "60"})
            getattr(response, leave)()
        assert (await client.get("/stock")).status == 200


async def test_a_redirect_is_returned_and_not_followed(stock: StockService) -> None:
    with StockService() as elsewhere:
        async with open_services(services={"inventory": [stock.url]}) as directory:
            client = directory.client("inventory")
            for method in ("get", "post", "head"):
                response = await getattr(client, method)("/moved", params={"to": f"{elsewhere.url}/stock"})
                assert response.status == (405 if method == "post" else 307)
            response = await client.get("/moved", params={"to": f"{elsewhere.url}/stock"})
            assert response.headers["location"] == f"{elsewhere.url}/stock"
            with pytest.raises(ValueError, match="leave allow_redirects out and read the Location header"):
                await client.get("/moved", params={"to": "/stock"}, allow_redirects=True)
        assert elsewhere.calls == 0


async def test_options_and_response_are_those_of_aiohttp(stock: StockService) -> None:
    async with open_services(services={"inventory": [stock.url]}) as directory:
        client = directory.client("inventory")
        async with client.post("/stock", json={"a": 1}, headers={"X-Mine": "1"}, params={"q": "x"}) as response:
            assert isinstance(response, aiohttp.ClientResponse)
            assert (await response.json())["headers"]["x-mine"] == "1"
            assert response.url.query["q"] == "x"
        for method in ("get", "head", "options", "put", "patch", "delete"):
            assert (await getattr(client, method)("/stock")).status in (200, 405)
        with pytest.raises(ValueError, match="expected a path that starts with /"):
            await client.get("http://elsewhere.example/")


async def test_connections_are_reused_and_limited(stock: StockService) -> None:
    async with open_services(services={"inventory": [stock.url]}, max_connections=5) as directory:
        client = directory.client("inventory")
        await (await client.get("/stock")).read()
        before = sockets_of(stock.pid)
        for _ in range(30):
            await (await client.get("/stock")).read()
        assert sockets_of(stock.pid) == before
        responses = await asyncio.gather(*(client.get("/stock") for _ in range(60)))
        assert {response.status for response in responses} == {200}
        assert sockets_of(stock.pid) <= before + 4


async def test_an_unavailable_service_is_a_503_and_an_aiohttp_error_at_once() -> None:
    (port,) = free_ports(1)
    async with open_services(services={"inventory": [f"http://{HOST}:{port}"]}) as directory:
        with pytest.raises(
            CallFailed, match=f"inventory: instance {HOST}:{port} failed: ClientConnectorError"
        ) as caught:
            await directory.client("inventory").get("/")
        assert isinstance(caught.value, Unavailable)
        assert isinstance(caught.value, aiohttp.ClientError)
        for _ in range(5):
            with pytest.raises(aiohttp.ClientError):
                await directory.client("inventory").get("/")
        with pytest.raises(Unavailable, match="every instance is ejected"):
            await directory.client("inventory").get("/")


async def test_retries_stay_within_the_retry_budget() -> None:
    with StockService() as first, StockService() as second:
        first.turn_unready()
        second.turn_unready()
        table = {"services": {"inventory": [first.url, second.url]}, "retry_budget": 0.0}
        async with open_services(**table, consecutive_failures=10_000) as directory:
            statuses = [(await directory.client("inventory").get("/stock")).status for _ in range(20)]
        assert statuses == [503] * 20
        assert first.calls + second.calls == 20


async def test_more_than_256_names_are_rejected() -> None:
    async with open_services() as directory:
        for number in range(256):
            directory.client(f"s{number}")
        with pytest.raises(ValueError, match="take names from code"):
            directory.client("one more")
