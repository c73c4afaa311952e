from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import nullcontext
from time import perf_counter
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar, get
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from scalekit import create_app
from scalekit.telemetry import TELEMETRY
from scalekit.testing import request as request_once
from scalekit.testing import running
from tests.host.asgi import Conversation
from tests.metrics.scrape_client import metrics_app, parse_samples, series_of

pytestmark = pytest.mark.anyio


async def page(request: Request) -> Response:
    return PlainTextResponse("five!")


async def fail(request: Request) -> Response:
    raise LookupError("it broke")


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        yield b"second"

    return StreamingResponse(parts())


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    if await websocket.receive_text() == "fail":
        raise ValueError("it broke")
    await websocket.close()


def application() -> Starlette:
    return Starlette(
        routes=[
            Route("/", page, methods=["GET", "PUT"]),
            Route("/users/{user:int}", page),
            Mount("/shops/{shop}", routes=[Route("/orders/{order}", page)]),
            Route("/fail", fail),
            Route("/length", length, methods=["GET", "POST"]),
            Route("/stream", stream),
            WebSocketRoute("/sockets/{name}", socket),
        ]
    )


async def started_and_fails(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 201})
    raise OSError("it broke")


async def sends_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def sends_no_end(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    await asyncio.Event().wait()


async def starts_and_hangs(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await hangs(scope, receive, send)


async def fails_at_the_end(scope: Scope, receive: Receive, send: Send) -> None:
    await sends_all(scope, receive, send)
    raise OSError("it broke")


async def sends_all(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


async def test_requests_are_counted_by_method_route_and_status() -> None:
    async with metrics_app(application()) as app:
        for path in ("/", "/", "/users/7", "/users/8", "/users/x", "/shops/3/orders/4", "/nowhere"):
            await app.request(path)
        await app.request("/users/7", method="POST")
        assert await app.count("GET", "/", "200") == 2
        assert await app.count("GET", "/users/{user}", "200") == 2
        assert await app.count("POST", "/users/{user}", "405") == 1
        assert await app.count("GET", "/shops/{shop}/orders/{order}", "200") == 1
        assert await app.count("GET", "unmatched", "404") == 2
        assert await app.count("GET", "/metrics", "200") == 5
        buckets = series_of(await app.scrape(), "http_request_duration_seconds_bucket")
        assert buckets[frozenset({"method": "GET", "route": "/", "status": "200", "le": "+Inf"}.items())] == 2


async def test_route_templates_of_fastapi_and_litestar() -> None:
    inner = FastAPI()
    inner.add_api_route("/items/{item}", lambda item: item)
    outer = FastAPI()
    outer.mount("/v1/{tenant}", inner)
    async with metrics_app(outer) as app:
        await app.request("/v1/t/items/3")
        assert await app.count("GET", "/v1/{tenant}/items/{item}", "200") == 1

    @get("/items/{item:int}")
    async def item(item: FromPath[int]) -> str:
        return str(item)

    litestar: Any = Litestar([item])
    async with metrics_app(litestar) as app:
        await app.request("/items/3")
        await app.request("/items/x")
        assert await app.count("GET", "/items/{item}", "200") == 1
        assert await app.count("GET", "unmatched", "404") == 1


@pytest.mark.slow
async def test_ten_thousand_unknown_paths_and_methods_add_two_series() -> None:
    async with metrics_app(application()) as app:
        await app.request("/metrics")
        before = set(await app.scrape())
        for number in range(10_000):
            await app.request(f"/{number}", method="GET" if number % 2 else f"METHOD{number}")
        after = await app.scrape()
        routes = {dict(labels)["route"] for _, labels in set(after) - before}
        assert routes == {"unmatched"}
        assert (
            series_of(after, "http_response_bytes_total")[frozenset({("method", "other"), ("route", "unmatched")})] > 0
        )
        assert await app.count("GET", "unmatched", "404") == 5000
        assert await app.count("other", "unmatched", "404") == 5000


async def test_series_beyond_the_budget_count_as_other_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def any_status(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": int(scope["path"][1:])})
        await send({"type": "http.response.body", "body": b"ok"})

    with caplog.at_level(logging.WARNING, "scalekit"):
        async with metrics_app(any_status, max_series=10) as app:
            for _ in range(2):
                for status in range(200, 300):
                    await app.request(f"/{status}")
            samples = await app.scrape()
    counts = series_of(samples, "http_request_duration_seconds_count")
    assert len(counts) == 11
    assert counts[frozenset(dict.fromkeys(("method", "route", "status"), "other").items())] == 180
    assert sum(counts.values()) == 200
    (warning,) = [record.getMessage() for record in caplog.records if "http_request_duration" in record.getMessage()]
    assert "'status' has 10 values" in warning


@pytest.mark.parametrize(
    ("behaviour", "status", "exception"),
    [
        (started_and_fails, "201", "OSError"),
        (fails_at_the_end, "200", "OSError"),
        (sends_nothing, "500", None),
        (sends_no_end, "200", None),
        (sends_all, "200", None),
    ],
)
async def test_every_request_is_counted_once(behaviour: Any, status: str, exception: str | None) -> None:
    async with metrics_app(behaviour) as app:
        with pytest.raises(OSError, match="it broke") if exception else nullcontext():
            await app.request("/")
        samples = await app.scrape()
    counts = series_of(samples, "http_request_duration_seconds_count")
    assert counts == {frozenset({"method": "GET", "route": "unmatched", "status": status}.items()): 1}
    exceptions = series_of(samples, "http_exceptions_total")
    labels = frozenset({"method": "GET", "route": "unmatched", "exception": str(exception)}.items())
    assert exceptions == ({labels: 1} if exception else {})
    assert samples["http_requests_in_flight", frozenset()] == 1  # the scrape


async def test_an_exception_before_the_response_is_a_500_of_its_route() -> None:
    async with metrics_app(application()) as app:
        with pytest.raises(LookupError, match="it broke"):
            await app.request("/fail")
        assert await app.count("GET", "/fail", "500") == 1
        assert await app.value("http_exceptions_total", method="GET", route="/fail", exception="LookupError") == 1


@pytest.mark.parametrize(("behaviour", "status"), [(hangs, "499"), (starts_and_hangs, "200")])
async def test_a_cancelled_request_is_counted_without_an_exception(behaviour: Any, status: str) -> None:
    async with metrics_app(behaviour) as app:
        task = asyncio.create_task(app.request("/"))
        while await app.value("http_requests_in_flight") != 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await app.count("GET", "unmatched", status) == 1
        samples = await app.scrape()
        assert series_of(samples, "http_exceptions_total") == {}
        assert samples["http_requests_in_flight", frozenset()] == 1


async def test_the_duration_of_a_stream_ends_with_its_last_chunk() -> None:
    waited: list[float] = []

    async def pauses(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            begun = perf_counter()
            await asyncio.sleep(0.01)
            waited.append(perf_counter() - begun)
            yield b"second"

        return StreamingResponse(parts())

    async with metrics_app(Starlette(routes=[Route("/", pauses)])) as app:
        await app.request("/")
        assert await app.value("http_response_bytes_total", method="GET", route="/") == 11
        duration = await app.value("http_request_duration_seconds_sum", method="GET", route="/", status="200")
        assert duration is not None
        assert duration >= waited[0]


async def test_the_duration_excludes_background_tasks() -> None:
    worked: list[float] = []

    async def work() -> None:
        begun = perf_counter()
        await asyncio.sleep(0.01)
        worked.append(perf_counter() - begun)

    async def later(request: Request) -> Response:
        return PlainTextResponse("", background=BackgroundTask(work))

    async with metrics_app(Starlette(routes=[Route("/", later)])) as app:
        begun = perf_counter()
        await app.request("/")
        total = perf_counter() - begun
        duration = await app.value("http_request_duration_seconds_sum", method="GET", route="/", status="200")
        assert duration is not None
        assert duration <= total - worked[0]


async def test_bytes_of_requests_and_responses() -> None:
    async with metrics_app(application()) as app:
        client = Conversation()
        for part in (b"12", b"", b"345"):
            client.chunk(part, more=True)
        client.chunk(b"6")
        await app.run(client, "/length", "POST")
        assert client.body == b"6"
        await app.request("/stream")
        await app.request("/", method="HEAD")
        samples = await app.scrape()
    received, sent = (series_of(samples, f"http_{kind}_bytes_total") for kind in ("request", "response"))
    assert received[frozenset({("method", "POST"), ("route", "/length")})] == 6
    assert sent[frozenset({("method", "POST"), ("route", "/length")})] == 1
    assert sent[frozenset({("method", "GET"), ("route", "/stream")})] == 11
    assert received[frozenset({("method", "GET"), ("route", "/stream")})] == 0
    assert frozenset({("method", "HEAD"), ("route", "/")}) not in sent


async def test_a_head_request_is_counted() -> None:
    async with metrics_app(application()) as app:
        await app.request("/", method="HEAD")
        assert await app.count("HEAD", "/", "200") == 1


async def test_open_websockets_and_their_exceptions() -> None:
    async with metrics_app(application()) as app:
        for text in ("hello", "fail"):
            client = Conversation()
            client.to_app.put_nowait({"type": "websocket.connect"})
            scope = app.scope("/sockets/x", type="websocket")
            task = asyncio.create_task(client.run(app.host, scope))
            while not client.sent:
                await asyncio.sleep(0)
            assert await app.value("websocket_connections") == 1
            client.to_app.put_nowait({"type": "websocket.receive", "text": text})
            await asyncio.wait({task})
            assert await app.value("websocket_connections") == 0
            assert (task.exception() is None) == (text == "hello")
        name, labels = "http_exceptions_total", {"method": "GET", "route": "/sockets/{name}"}
        assert await app.value(name, exception="ValueError", **labels) == 1
        counts = series_of(await app.scrape(), "http_request_duration_seconds_count")
        assert {dict(labels)["route"] for labels in counts} == {"/metrics"}


STEPS = st.lists(st.sampled_from(["start", "part", "end", "read", "raise", "cancel"]), max_size=6)


@settings(max_examples=25)  # each with an application of its own, and up to 20 requests
@given(plans=st.lists(STEPS, min_size=1, max_size=20))
def test_any_sequence_of_steps_is_counted_once_and_leaves_nothing_in_flight(plans: list[list[str]]) -> None:
    async def follows(scope: Scope, receive: Receive, send: Send) -> None:
        messages: dict[str, Message] = {
            "start": {"type": "http.response.start", "status": 200},
            "part": {"type": "http.response.body", "body": b"x", "more_body": True},
            "end": {"type": "http.response.body", "body": b"y"},
        }
        for step in plans[int(scope["path"][1:])]:
            if step in messages:
                await send(dict(messages[step]))
            elif step == "read":
                await receive()
            elif step == "raise":
                raise LookupError
            else:
                raise asyncio.CancelledError

    async def send_all() -> tuple[float, float]:
        async with metrics_app(follows) as app:
            for number in range(len(plans)):
                client = Conversation()
                for _ in range(10):
                    client.chunk(b"x")
                try:
                    await app.run(client, f"/{number}", "POST")
                except (LookupError, asyncio.CancelledError):
                    pass
            samples = await app.scrape()
        counts = series_of(samples, "http_request_duration_seconds_count")
        return sum(counts.values()), samples["http_requests_in_flight", frozenset()]

    assert asyncio.run(send_all()) == (len(plans), 1)


async def test_two_applications_in_one_process_are_independent() -> None:
    async with metrics_app(application()) as first, metrics_app(application(), max_series=5) as second:
        await first.request("/")
        await second.request("/")
        await second.request("/")
        assert await first.count("GET", "/", "200") == 1
        assert await second.count("GET", "/", "200") == 2


async def test_without_the_plugin_there_is_no_endpoint() -> None:
    host = create_app({}, app=application())
    async with running(host) as state:
        assert (await request_once(host, "/", state=state)).status == 200
        assert (await request_once(host, "/metrics", state=state)).status == 404
        assert host.context.get(TELEMETRY).snapshot().families == {}


async def test_numbers_stay_when_the_application_is_started_again() -> None:
    host = create_app({"plugins": {"metrics": {}}}, app=application())
    for expected in (1, 2):
        async with running(host) as state:
            await request_once(host, "/", state=state)
            response = await request_once(host, "/metrics", state=state)
            labels = frozenset({"method": "GET", "route": "/", "status": "200"}.items())
            assert parse_samples(response.body.decode())["http_request_duration_seconds_count", labels] == expected
