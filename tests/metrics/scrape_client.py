"""Run an application with the metrics plugin, and parse the samples of its metrics endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.types import ASGIApp

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import ReceivedResponse, request, running
from tests.host.asgi import Conversation, http_scope

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class MetricsApp:
    """A running application, called in process."""

    def __init__(self, host: Host, state: dict[str, Any]) -> None:
        self.host = host
        self.state = state

    async def request(self, path: str, **options: Any) -> ReceivedResponse:
        return await request(self.host, path, state=self.state, **options)

    async def scrape(self) -> Samples:
        response = await self.request("/metrics")
        assert response.status == 200
        return parse_samples(response.body.decode())

    async def value(self, name: str, **labels: str) -> float | None:
        return (await self.scrape()).get((name, frozenset(labels.items())))

    async def count(self, method: str, route: str, status: str) -> float | None:
        name = "http_request_duration_seconds_count"
        return await self.value(name, method=method, route=route, status=status)

    def scope(self, path: str = "/", method: str = "GET", **fields: Any) -> Any:
        return http_scope(path, method, **{"state": dict(self.state), **fields})

    async def run(self, client: Conversation, path: str = "/", method: str = "GET", **fields: Any) -> None:
        await client.run(self.host, self.scope(path, method, **fields))


def parse_samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def parse_openmetrics(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # prometheus_client has no types here


@asynccontextmanager
async def metrics_app(app: ASGIApp, **table: Any) -> AsyncGenerator[MetricsApp, None]:
    host = create_app({"plugins": {"metrics": table}}, app=app)
    async with running(host) as state:
        yield MetricsApp(host, state)


def series_of(samples: Mapping[Any, float], name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {labels: value for (each, labels), value in samples.items() if each == name}
