"""The host's pages have the data of all workers, whichever responds."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import orjson
import pytest

from tests.host.host_pages.page_json import rows
from tests.processes import HOST, wait_for
from tests.workers import Supervised, supervised, workers_of

WORKERS = ["1", "2", "3", "4"]
TABLES = """
operator_networks = ["127.0.0.1"]
[plugins.console]
[plugins.headers]
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Supervised]:
    with supervised(4, TABLES) as service:
        yield service


def blocks(service: Supervised, name: str) -> list[dict[str, Any]]:
    return list(orjson.loads(service.get(f"/-/{name}.json"))["blocks"])


def act(service: Supervised, target: str) -> list[dict[str, Any]]:
    return list(orjson.loads(send(service, "POST", target, {"content-type": "application/json"}))["results"])


def send(service: Supervised, method: str, target: str, headers: dict[str, str]) -> bytes:
    connection = HTTPConnection(HOST, service.port, timeout=60)
    try:
        connection.request(method, target, "{}", headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    assert response.status == 200, body
    return body


def test_memory_and_tasks_are_those_of_all_workers(service: Supervised) -> None:
    usage = rows(blocks(service, "memory"), "Workers")
    assert [row["worker"] for row in usage] == WORKERS
    assert {int(row["process id"]) for row in usage} == set(workers_of(service))
    tasks = blocks(service, "tasks")
    assert [row["worker"] for row in rows(tasks, "Workers")] == WORKERS
    assert {row["worker"] for row in rows(tasks, "Tasks by coroutine")} == set(WORKERS)
    assert {row["worker"] for row in rows(tasks, "Threads")} == set(WORKERS)
    assert [each["worker"] for each in act(service, "/-/memory/collect")] == WORKERS


def test_filters_are_measured_in_all_workers(service: Supervised) -> None:
    assert [(each["worker"], each["failed"]) for each in act(service, "/-/plugins/measure")] == [
        (worker, False) for worker in WORKERS
    ]

    def measured() -> bool:
        for _ in range(8):
            service.get("/")
        found = blocks(service, "plugins")
        times = [each for each in found if each.get("title") == "Time of filters by call"]
        calls = [row["calls"] for row in rows(found, "Time of filters by call") if times] if times else []
        return max(calls, default=0) >= 10

    wait_for("measured calls of the workers", measured)


def test_a_warning_of_one_worker_is_shown_by_all(service: Supervised) -> None:
    send(service, "GET", "/", {"x-forwarded-for": "1.2.3.4"})
    for _ in range(8):
        notices = [each["text"] for each in blocks(service, "configuration") if each["type"] == "notice"]
        assert len(notices) == 1
        assert "server.trusted_proxies is empty" in notices[0]
