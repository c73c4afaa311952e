"""Responses, logs and metrics are the same under scalekit run and under other servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.host.http.requests import Outcome, outcome_of
from tests.host.http.shop import TOML
from tests.service import Foreign, Service

SHOP = Path(__file__).parent.with_name("shop.py").read_text()


def outcome(service: Service) -> Outcome:
    with service as running:
        return outcome_of(running.port, running.box.directory / "logs" / "combined.log")


@pytest.fixture(scope="module")
def expected() -> Outcome:
    """Return the outcome under ``scalekit run``."""
    return outcome(Service(TOML.format(store="memory:"), {"service": SHOP}))


def comparable(line: dict[str, Any], server: str) -> dict[str, Any]:
    """Return *line* without the close code of a websocket, which hypercorn does not pass to applications."""
    return {name: value for name, value in line.items() if name != "code" or server != "hypercorn"}


@pytest.mark.parametrize("server", ["uvicorn", "granian", "hypercorn"])
def test_other_servers_send_the_same_responses(server: str, expected: Outcome) -> None:
    found = outcome(Foreign(server, TOML.format(store="memory:"), {"service": SHOP}))
    assert found.responses == expected.responses
    assert [comparable(line, server) for line in found.lines] == [comparable(line, server) for line in expected.lines]
    assert found.metrics == expected.metrics
