"""The page of four workers: figures of each, and of all together; a statement is explained by any of them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.processes import wait_for
from tests.service import Service

WORKERS = 4
APPLICATION = """
from scalekit.contracts import DATABASE
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def item(request):
    number = int(request.path_params["number"])
    return PlainTextResponse(str(await DATABASE(request).fetch_val(f"SELECT {number} + 1")))


app = Starlette(routes=[Route("/item/{number}", item)])
"""
TOML = """
[server]
workers = 4
operator_networks = ["127.0.0.1"]
[plugins.console]
[plugins.pool]
url = "{url}"
max_size = 5
"""


def page(service: Service, query: str = "") -> dict[str, Any]:
    blocks = json.loads(service.get(f"/-/database.json{query}"))["blocks"]
    return {block.get("title") or block.get("text"): block for block in blocks}


def statement(service: Service) -> list[Any] | None:
    rows = page(service)["Statements by time"]["rows"]
    return next((row for row in rows if row[1] == "SELECT ? + ?"), None)


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgres"))])
def test_the_page_has_the_sums_of_all_workers(database: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else "sqlite:///test.db"
    with Service(TOML.format(url=url), {"service": APPLICATION}) as service, ThreadPoolExecutor(20) as pool:
        list(pool.map(service.get, [f"/item/{number}" for number in range(200)]))
        wait_for("all workers", lambda: len(by_worker(service)) == WORKERS, service.process)
        found = page(service)
        total = [row for row in found["Connections"]["rows"] if row[0] == "primary"]
        assert total[0][3] == WORKERS * (5 if database == "postgresql" else 1)
        assert sum(row[3] for row in by_worker(service)) == total[0][3]
        row = statement(service)
        assert row is not None
        assert row[2] == 200
        query = row[-1]["query"]["statement"]
        for _ in range(8):  # by several workers
            assert page(service, f"?statement={query}")["Statement of primary"]["text"] == row[1]


def by_worker(service: Service) -> list[list[Any]]:
    return [row[1:] for row in page(service)["Connections by worker"]["rows"] if row[1] == "primary"]
