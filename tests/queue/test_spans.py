"""Spans of publishing, storing, relaying and each delivery, and the links between them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import DATABASE, QUEUE, Consumers, Message
from scalekit.host import Host
from scalekit.testing import request, running
from tests.queue.harness import consumers_target, wait_until
from tests.tracing.span_receiver import SpanReceiver, attributes, span_receiver

pytestmark = pytest.mark.anyio
Table = dict[str, Any]
CLIENT, PRODUCER, CONSUMER = 3, 4, 5


async def publish(request: Request) -> Response:
    await QUEUE(request).publish("sold", 1, key="sold-1")
    return PlainTextResponse("")


async def publish_many(request: Request) -> Response:
    await QUEUE(request).publish_many("sold", [1, 2])
    return PlainTextResponse("")


async def store(request: Request) -> Response:
    database = DATABASE(request)
    async with database.transaction():
        await QUEUE(request).publish_after(database, "sold", int(request.query_params["item"]))
    return PlainTextResponse("")


APP = Starlette(routes=[Route("/publish", publish), Route("/publish-many", publish_many), Route("/store", store)])


@asynccontextmanager
async def traced(
    table: Table, consumers: Consumers, receiver: SpanReceiver, database: Path, **sampling: Any
) -> AsyncGenerator[tuple[Host, Any], None]:
    options = {"ratio": 1.0, "slow_quantile": 0.0, "max_traces_per_second": 1000.0, **sampling}
    plugins = {
        "tracing": {"endpoint": receiver.url, "export_interval": "10ms", "sampling": options},
        "pool": {"url": f"sqlite:///{database}/test.db"},
        "queue": {**table, "consumers": consumers_target(consumers)},
    }
    app = create_app({"plugins": plugins}, app=APP)
    async with running(app) as state:
        yield app, state


async def test_each_delivery_is_below_its_publisher_and_linked_to_it(table: Table, tmp_path: Path) -> None:
    consumers, handled = Consumers(), list[int]()

    @consumers.on("sold", retry=["10ms"])
    async def sold(message: Message[int]) -> None:
        handled.append(message.attempt)
        if len(handled) == 1:
            raise ValueError("the first attempt")

    with span_receiver() as receiver:
        async with traced(table, consumers, receiver, tmp_path) as (app, state):
            await request(app, "/publish", state=state)
            await wait_until(lambda: len(handled) == 2)
        (published,) = receiver.named("publish sold")
        deliveries = sorted(receiver.named("process sold"), key=lambda span: int(span["startTimeUnixNano"]))
    system = {"sqlite": "sqlite", "amqp": "rabbitmq", "postgresql": "postgresql"}[table["url"].partition(":")[0]]
    common = {
        "messaging.system": system,
        "messaging.destination.name": "sold",
        "messaging.message.id": "sold-1",
    }
    assert published["kind"] == PRODUCER
    assert attributes(published) == {
        **common,
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
    }
    for number, (delivery, error) in enumerate(zip(deliveries, ("ValueError", None), strict=True), 1):
        assert delivery["kind"] == CONSUMER
        assert (delivery["traceId"], delivery["parentSpanId"]) == (published["traceId"], published["spanId"])
        (link,) = delivery["links"]
        assert (link["traceId"], link["spanId"]) == (published["traceId"], published["spanId"])
        assert attributes(delivery) == {
            **common,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "scalekit.queue.attempt": number,
            **({"error.type": error} if error else {}),
        }
    assert [event["name"] for event in deliveries[0]["events"]] == ["exception"]


async def test_messages_that_are_published_together_are_one_span(sqlite_table: Table, tmp_path: Path) -> None:
    with span_receiver() as receiver:
        async with traced(sqlite_table, Consumers(), receiver, tmp_path) as (app, state):
            await request(app, "/publish-many", state=state)
        (published,) = receiver.named("publish sold")
    assert attributes(published)["messaging.batch.message_count"] == 2
    assert "messaging.message.id" not in attributes(published)


async def test_the_relay_is_linked_to_the_spans_that_stored_its_messages(table: Table, tmp_path: Path) -> None:
    consumers, handled = Consumers(), list[int]()

    @consumers.on("sold")
    async def sold(message: Message[int]) -> None:
        handled.append(message.body)

    with span_receiver() as receiver:
        async with traced(table, consumers, receiver, tmp_path) as (app, state):
            for item in range(3):
                await request(app, f"/store?item={item}", state=state)
            await wait_until(lambda: len(handled) == 3)
        stored, relays = receiver.named("store sold"), receiver.named("relay outbox")
        deliveries = receiver.named("process sold")
    assert {span["kind"] for span in stored} == {PRODUCER}
    assert {span["kind"] for span in relays} == {CLIENT}
    assert {attributes(span)["messaging.operation.type"] for span in stored} == {"create"}
    assert {attributes(span)["messaging.operation.type"] for span in relays} == {"send"}
    ids = sorted((span["traceId"], span["spanId"]) for span in stored)
    assert sorted((link["traceId"], link["spanId"]) for span in relays for link in span["links"]) == ids
    assert sorted((span["traceId"], span["parentSpanId"]) for span in deliveries) == ids, "not below the relay"
    assert sum(attributes(span).get("messaging.batch.message_count", 1) for span in relays) == 3


async def test_a_failed_delivery_is_kept_although_its_request_is_not(sqlite_table: Table, tmp_path: Path) -> None:
    consumers, handled = Consumers(), list[int]()

    @consumers.on("sold", retry=[])
    async def sold(message: Message[int]) -> None:
        handled.append(message.attempt)
        raise ValueError("wrong")

    with span_receiver() as receiver:
        async with traced(sqlite_table, consumers, receiver, tmp_path, ratio=0.0) as (app, state):
            await request(app, "/publish", state=state)
            await wait_until(lambda: handled)
        assert [span["name"] for span in receiver.spans()] == ["process sold"]
