"""A collector that is unavailable is found by `scalekit doctor` before the first trace is sent."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from scalekit import create_app
from scalekit.testing.conformance import bare_application
from tests.processes import HOST, free_ports

pytestmark = pytest.mark.anyio


async def found(table: dict[str, Any]) -> list[str]:
    host = create_app({"plugins": {"tracing": table}}, app=bare_application)
    (diagnostic,) = host.settings.plugins.diagnostics(host.context)["tracing"]
    return [each.message for each in await diagnostic.probe()]


async def test_a_collector_that_is_unavailable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    (port,) = free_ports(1)
    (message,) = await found({"endpoint": f"http://{HOST}:{port}"})
    assert message.startswith(f"the collector of traces at {HOST}:{port} is unavailable: ")
    with socket.create_server((HOST, 0)) as collector:
        assert await found({"endpoint": f"http://{HOST}:{collector.getsockname()[1]}"}) == []
    assert await found({"exporter": "none"}) == []
