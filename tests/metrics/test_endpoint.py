from __future__ import annotations

import gzip
from typing import Any

import pytest
from starlette.types import ASGIApp

from scalekit import ConfigError, create_app
from scalekit.telemetry import Counter, Gauge, Histogram
from scalekit.testing import request, running
from scalekit_metrics.endpoint import accepts_gzip
from tests.metrics.scrape_client import MetricsApp, metrics_app, parse_openmetrics, parse_samples
from tests.metrics.test_filters import application
from tests.tools import promtool

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACED = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
OPENMETRICS = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3"


async def openmetrics(app: MetricsApp) -> str:
    return (await app.request("/metrics", headers={"accept": OPENMETRICS})).body.decode()


def exemplars(text: str) -> list[tuple[str | None, str]]:
    return [
        (sample.labels.get("route"), sample.exemplar.labels["trace_id"])
        for family in parse_openmetrics(text)
        for sample in family.samples
        if sample.exemplar
    ]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/html,application/xhtml+xml", "text/plain; version=0.0.4"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", "application/openmetrics-text; version=1.0.0"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=0.0.1,text/plain", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=one", "text/plain; version=0.0.4"),
    ],
)
async def test_the_format_is_negotiated(accept: str, expected: str) -> None:
    async with metrics_app(application()) as app:
        response = await app.request("/metrics", headers={"accept": accept} if accept else {})
        assert str(response.header("content-type")).startswith(expected)
        assert response.body.endswith(b"# EOF\n") == expected.startswith("application/openmetrics")
        assert response.header("content-length") == str(len(response.body))


async def test_the_response_is_compressed_when_gzip_is_accepted() -> None:
    async with metrics_app(application()) as app:
        response = await app.request("/metrics", headers={"accept-encoding": "gzip"})
        assert response.header("content-encoding") == "gzip"
        assert "process_cpu_seconds_total" in gzip.decompress(response.body).decode()
        assert (await app.request("/metrics")).header("content-encoding") is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0.01", True),
        ("br", False),
        ("gzipped", False),
    ],
)
def test_acceptance_of_gzip(header: str, expected: bool) -> None:
    assert accepts_gzip(header) is expected


async def test_only_openmetrics_and_traced_requests_have_exemplars() -> None:
    async with metrics_app(application()) as app:
        await app.request("/", headers=TRACED)
        await app.request("/users/7")
        await app.request("/users/7", headers={"traceparent": "00-nonsense"})
        assert exemplars(await openmetrics(app)) == [("/", TRACE)]
        assert TRACE not in (await app.request("/metrics")).body.decode()


async def test_traced_requests_are_counted() -> None:
    async with metrics_app(application()) as app:
        for number in range(1, 6):
            await app.request("/", headers={"traceparent": f"00-{number:032x}-b7ad6b7169203331-01"})
        assert await app.count("GET", "/", "200") == 5
        assert {route for route, _ in exemplars(await openmetrics(app))} == {"/"}


async def test_exemplars_can_be_disabled() -> None:
    async with metrics_app(application(), exemplars=False) as app:
        await app.request("/", headers=TRACED)
        assert exemplars(await openmetrics(app)) == []


async def test_metrics_of_the_application_are_exported() -> None:
    orders = Counter("shop_orders", "Orders.", ("payment",))
    stock = Gauge("shop_stock_items", "Items.", multiprocess_mode="max")
    basket = Histogram("shop_basket_euros", "Worth.", buckets=(10.0, 50.0))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import Request
        from starlette.responses import Response

        if scope["type"] == "lifespan":
            raise ValueError("no lifespan here")
        connection = Request(scope)
        orders(connection, "card").inc()
        stock(connection).set(17)
        basket(connection).observe(42.5)
        await Response()(scope, receive, send)

    async with metrics_app(app) as service:
        await service.request("/")
        assert await service.value("shop_orders_total", payment="card") == 1
        assert await service.value("shop_stock_items") == 17
        assert await service.value("shop_basket_euros_bucket", le="50.0") == 1


async def test_path_and_buckets_are_configurable() -> None:
    async with metrics_app(application(), path="/-/samples", buckets=[0.5, 100]) as app:
        assert (await app.request("/metrics")).status == 404
        await app.request("/")
        text = (await app.request("/-/samples")).body.decode()
        bounds = {dict(labels).get("le") for name, labels in parse_samples(text) if "duration_seconds_bucket" in name}
        assert bounds == {"0.5", "100.0", "+Inf"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"buckets": []}, "expected ascending bounds"),
        ({"buckets": [1.0, 0.5]}, "expected ascending bounds"),
        ({"buckets": [0.5, 0.5]}, "expected ascending bounds"),
        ({"buckets": [0.0]}, "greater than 0"),
        ({"path": "metrics"}, "path"),
        ({"path": "/"}, "path"),
        ({"max_series": 0}, "greater than or equal to 1"),
    ],
)
def test_invalid_values_are_rejected(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_app({"plugins": {"metrics": table}}, app=application())


async def test_with_a_management_address_the_public_one_has_no_endpoint() -> None:
    app: ASGIApp = create_app(
        {"server": {"management_address": "127.0.0.1:9100"}, "plugins": {"metrics": {}}}, app=application()
    )
    async with running(app) as state:
        assert (await request(app, "/metrics", state=state)).status == 404


@pytest.mark.needs("promtool")
async def test_promtool_accepts_the_response() -> None:
    async with metrics_app(application()) as app:
        for path in ("/", "/users/7", "/nowhere"):
            await app.request(path)
        with pytest.raises(LookupError):
            await app.request("/fail")
        text = (await app.request("/metrics")).body.decode()
    result = promtool("check", "metrics", text=text)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
