"""A service of four workers, and a real OpenTelemetry Collector."""

from __future__ import annotations

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.processes import wait_for
from tests.servers import OtelCollector, ask
from tests.service import Service
from tests.tracing.span_receiver import attributes, span_receiver

pytestmark = pytest.mark.needs("otel-collector")

APPLICATION = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from scalekit.contracts import CACHE, DATABASE, QUEUE, Consumers, Message
from scalekit.telemetry import span

consumers = Consumers()

@consumers.on("sold")
async def sold(message: Message[int]) -> None:
    with span("ship"):
        await message.context.get(DATABASE).execute("UPDATE stock SET sold = 1 WHERE id = 7")

async def sell(request):
    with span("price", sku=7):
        await DATABASE(request).execute("INSERT INTO stock (id, name) VALUES (:id, 'secret')", {"id": 7})
        rows = await DATABASE(request).fetch_all("SELECT * FROM stock WHERE name = 'secret'")
    await QUEUE(request).publish("sold", 7)
    return PlainTextResponse(str(len(rows)))

async def item(request):
    return PlainTextResponse("item")

async def large(request):
    for number in range(100):
        with span("large", **{f"key{key}": "x" * 16_000 for key in range(200)}):
            pass
    return PlainTextResponse("large")

routes = [Route("/sell", sell, methods=["POST"]), Route("/items/{id:int}", item), Route("/large", large)]
app = Starlette(routes=routes)
"""
TOML = """
[app]
name = "shop"
[server]
drain_delay = "0s"
[plugins.tracing]
endpoint = "{url}"
export_interval = "100ms"
resource = {{"deployment.environment.name" = "test"}}
[plugins.tracing.sampling]
ratio = 1.0
max_traces_per_second = 10000.0
"""
DATABASE = """
[plugins.pool]
url = "sqlite:///shop.db"
[plugins.queue]
url = "sqlite:///queue.db"
consumers = "service:consumers"
"""
CREATE = "import sqlite3; sqlite3.connect('shop.db').execute('CREATE TABLE stock (id int, name text, sold int)')\n"


def test_one_trace_from_the_request_to_the_delivery_of_its_message() -> None:
    with span_receiver() as receiver, OtelCollector(receiver.port) as collector:
        toml = TOML.format(url=collector.url) + DATABASE
        with Service(toml, {"service": CREATE + APPLICATION}) as service:
            assert ask(service.port, "POST", "/sell") == "1"
            spans = receiver.wait("the delivery", lambda spans: any(span["name"] == "process sold" for span in spans))
            by_name = {span["name"]: span for span in spans}
            request, price, publish = by_name["POST /sell"], by_name["price"], by_name["publish sold"]
            delivery, ship = by_name["process sold"], by_name["ship"]
            insert, select, update = by_name["INSERT stock"], by_name["SELECT stock"], by_name["UPDATE stock"]
            parents = [(price, request), (insert, price), (select, price), (publish, request), (delivery, publish)]
            for child, parent in [*parents, (ship, delivery), (update, ship)]:
                assert child["parentSpanId"] == parent["spanId"], child["name"]
                assert child["traceId"] == request["traceId"]
            assert delivery["links"][0]["spanId"] == publish["spanId"]
            assert [span["kind"] for span in (request, price, insert, publish, delivery)] == [2, 1, 3, 4, 5]
            assert attributes(select) == {
                "db.system.name": "sqlite",
                "db.query.text": "SELECT * FROM stock WHERE name = ?",
                "db.query.summary": "SELECT stock",
                "db.operation.name": "SELECT",
                "db.collection.name": "stock",
                "db.response.returned_rows": 1,
                "scalekit.pool": "primary",
            }
            assert attributes(publish)["messaging.destination.name"] == "sold"
            assert "secret" not in str(spans)
        resource = receiver.requests[0].body["resourceSpans"][0]["resource"]
        described = attributes(resource)
        assert (described["service.name"], described["deployment.environment.name"]) == ("shop", "test")


def test_four_workers_lose_no_span_at_sigterm() -> None:
    with span_receiver() as receiver, OtelCollector(receiver.port) as collector:
        toml = TOML.format(url=collector.url).replace("[server]", "[server]\nworkers = 4")
        toml = toml.replace('"100ms"', '"10m"')  # only the stop sends them
        with Service(toml, {"service": APPLICATION}) as service, ThreadPoolExecutor(8) as threads:
            bodies = list(threads.map(lambda number: ask(service.port, "GET", f"/items/{number}"), range(200)))
            assert bodies == ["item"] * 200
            service.stop()
            wait_for("all spans", lambda: len(receiver.named("GET /items/{id}")) == 200)
        paths = {attributes(span)["url.path"] for span in receiver.named("GET /items/{id}")}
        assert paths == {f"/items/{number}" for number in range(200)}
        instances = {
            attributes(request.body["resourceSpans"][0]["resource"])["service.instance.id"]
            for request in receiver.requests
        }
        assert len(instances) > 1


def test_a_collector_that_is_killed_under_load_loses_no_span() -> None:
    with span_receiver() as receiver, OtelCollector(receiver.port) as collector:
        toml = TOML.format(url=collector.url).replace("[server]", "[server]\nworkers = 2")
        with Service(toml, {"service": APPLICATION}) as service, ThreadPoolExecutor(8) as threads:

            def send(begin: int) -> None:
                numbers = range(begin, begin + 200)
                list(threads.map(lambda number: ask(service.port, "GET", f"/items/{number}"), numbers))

            def paths() -> set[str]:
                return {attributes(span)["url.path"] for span in receiver.named("GET /items/{id}")}

            send(0)
            wait_for("spans", paths)
            collector.kill()
            send(200)
            service.wait_for_log(f"spans cannot be sent: {collector.url}/v1/traces: ")
            collector.start()
            send(400)
            wait_for("all spans", lambda: paths() == {f"/items/{number}" for number in range(600)})


def test_a_paused_collector_does_not_delay_the_stop() -> None:
    with span_receiver() as receiver, OtelCollector(receiver.port) as collector:
        toml = TOML.format(url=collector.url).replace("[server]", '[server]\nworkers = 4\nstop_timeout = "1s"')
        with Service(toml, {"service": APPLICATION}) as service, ThreadPoolExecutor(8) as threads:
            collector.pause()
            list(threads.map(lambda number: ask(service.port, "GET", f"/items/{number}"), range(100)))
            service.signal(signal.SIGTERM)
            assert service.wait() == 0
            collector.resume()
            assert f"{collector.url}/v1/traces did not take all of them in time" in service.log()
            assert "did not stop within" not in service.log()


def test_a_trace_that_is_too_large_arrives_without_some_attributes() -> None:
    with span_receiver() as receiver, OtelCollector(receiver.port) as collector:
        with Service(TOML.format(url=collector.url), {"service": APPLICATION}) as service:
            for path in ("/items/1", "/large", "/items/2"):
                ask(service.port, "GET", path)
            service.stop()
            assert "WARNING" not in service.log()
        names = Counter(span["name"] for span in receiver.spans())
        assert names == {"GET /items/{id}": 2, "GET /large": 1, "large": 100}
        first, *_, last = sorted(receiver.named("large"), key=lambda span: int(span["startTimeUnixNano"]))
        assert attributes(first)["scalekit.dropped_attributes"] == 200 - (len(attributes(first)) - 1)
        assert attributes(last) == {"scalekit.dropped_attributes": 200}
