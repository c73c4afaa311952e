"""Prometheus scrapes a running service."""

from __future__ import annotations

from functools import partial

import pytest

from tests.metrics.scrape_client import parse_samples
from tests.processes import HOST, free_ports, wait_for
from tests.servers import Prometheus, ask
from tests.service import Service
from tests.tools import promtool

SOURCE = """\
from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from scalekit.telemetry import Counter as ScalekitCounter

CLIENT_ORDERS = Counter("shop_client_orders", "Counted by prometheus_client.")
ORDERS = ScalekitCounter("shop_orders", "Counted by ScaleKit.", ("route",))


async def order(request):
    CLIENT_ORDERS.inc()
    ORDERS(request, "order").inc(2)
    return PlainTextResponse("ok")


app = Starlette(routes=[Mount("/shops/{shop}", routes=[Route("/orders/{order}", order)])])
"""
TOML = "[plugins.metrics]\n"


class ManagedService(Service):
    """A service with a management address."""

    def prepare(self) -> None:
        (self.management,) = free_ports(1)
        super().prepare()

    def command(self) -> list[object]:
        return [*super().command(), "--set", f"server.management_address={HOST}:{self.management}"]

    def is_ready(self) -> bool:
        return ask(self.management, "GET", "/health/ready") == '{"status":"ready"}'


@pytest.mark.needs("prometheus", "promtool")
@pytest.mark.parametrize("server", ["", "[server]\nworkers = 2\n"], ids=["one process", "two workers"])
def test_prometheus_returns_the_exact_values(server: str) -> None:
    with Service(server + TOML, {"service": SOURCE}) as service, Prometheus(service.port) as prometheus:
        for number in range(40):
            service.get(f"/shops/{number}/orders/{number}")
        for query, expected in {
            'http_request_duration_seconds_count{route="/shops/{shop}/orders/{order}",method="GET",status="200"}': 40,
            'http_request_duration_seconds_bucket{route="/shops/{shop}/orders/{order}",le="+Inf"}': 40,
            "shop_client_orders_total": 40,
            'shop_orders_total{route="order"}': 80,
            "count(process_cpu_seconds_total)": 1,
            "count(python_gc_collections_total)": 3,
        }.items():
            wait_for(query, partial(_has, prometheus, query, expected))
        page = service.get("/metrics")
        assert promtool("check", "metrics", text=page).returncode == 0


def test_requests_to_the_management_address_are_not_recorded() -> None:
    with ManagedService(TOML, {"service": SOURCE}) as service:
        service.get("/shops/1/orders/2")
        ask(service.management, "GET", "/metrics")
        samples = parse_samples(ask(service.management, "GET", "/metrics"))
        routes = {dict(labels)["route"] for name, labels in samples if name.startswith("http_request_duration")}
        assert routes == {"/shops/{shop}/orders/{order}"}


def _has(prometheus: Prometheus, query: str, expected: float) -> bool:
    return [float(series["value"][1]) for series in prometheus.query(query)] == [expected]
