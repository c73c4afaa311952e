"""The page of the limits shows the sums of four workers, and a reset reaches all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.service import Service

TOML = """\
[app]
target = "service:app"
[server]
workers = 4
operator_networks = ["127.0.0.1"]
[plugins.console]
[plugins.ratelimit]
per_worker = true
[[plugins.ratelimit.policies]]
name = "items"
path = "/items"
limit = "2/1d"
"""
SOURCE = """\
from scalekit.testing.conformance import bare_application as app
"""
REQUESTS = 60


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(TOML, {"service": SOURCE}) as running:
        yield running


def send(service: Service, method: str, path: str, **more: Any) -> httpx2.Response:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=60) as client:
        return client.request(method, path, **more)


def table(service: Service, title: str, path: str = "/-/limits.json") -> list[list[Any]]:
    blocks = send(service, "GET", path).json()["blocks"]
    (found,) = [block for block in blocks if block.get("title", "").startswith(title)]
    rows: list[list[Any]] = found["rows"]
    return rows


def test_the_page_adds_up_four_workers_and_resets_all(service: Service) -> None:
    codes = [send(service, "GET", "/items").status_code for _ in range(REQUESTS)]
    allowed, refused = codes.count(200), codes.count(429)
    assert allowed + refused == REQUESTS
    ((_, _, _, _, *counts),) = table(service, "Policies")
    assert counts[:2] == [allowed, refused]
    ((key, _, _, _, at_least, at_most, *_),) = table(service, "Refused most")
    assert (key, at_least, at_most) == ("127.0.0.1", refused, refused)
    look_up = "/-/limits.json?policy=items&client=127.0.0.1"
    states = table(service, "Limits of", look_up)
    assert sorted(row[0] for row in states) == [f"worker {number}" for number in range(1, 5)]
    assert 8 - sum(row[3] for row in states) == allowed
    values = {"policy": "items", "client": "127.0.0.1"}
    done = send(service, "POST", "/-/limits/reset", json=values).json()["results"]
    assert [result["failed"] for result in done] == [False] * 4
    assert [row[3] for row in table(service, "Limits of", look_up)] == [2] * 4
