"""Traces and lines of a request in one of four workers, shown by any of them."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.processes import wait_for
from tests.service import Service

APPLICATION = """
import os

async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"] == "/fault":
            raise ValueError("wrong")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""
SETTINGS = """
[server]
workers = 4
drain_delay = "0s"
operator_networks = ["127.0.0.1"]
[plugins.console]
[plugins.logging]
[plugins.tracing.sampling]
max_traces_per_second = 1000.0
"""


def blocks(service: Service, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(service.get(f"/-/requests.json{query}"))["blocks"]
    return found


def fail(service: Service, request_id: str) -> None:
    try:
        urlopen(Request(f"{service.url}/fault", headers={"x-request-id": request_id, "connection": "close"})).close()
    except HTTPError as error:
        error.close()


def test_every_worker_shows_the_requests_of_all() -> None:
    with Service(SETTINGS, {"service": APPLICATION}) as service:
        number = 0

        def failed_in() -> set[str]:
            nonlocal number
            fail(service, f"r-{(number := number + 1)}")
            return {row[-1] for row in blocks(service)[3]["rows"]}

        wait_for("a failure in each worker", lambda: failed_in() == set("1234"))
        routes, failed = blocks(service)[2:4]
        assert sum(row[3] for row in routes["rows"]) == number
        assert len(failed["rows"]) + failed["more"] == number
        shown: set[str] = set()

        def found_in_log() -> bool:
            (table,) = [block for block in blocks(service, "?id=r-1") if block.get("title") == "Log lines"]
            return len(table["rows"]) == 1

        wait_for("the line of the first failure", found_in_log)
        for _ in range(8):
            facts = blocks(service, "?id=r-1")[1]["facts"]
            assert facts["request id"] == "r-1"
            shown.add(facts["worker"])
        assert len(shown) == 1
