"""The page of discovery shows the sums of four workers, and their one registration."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.discovery.harness import StockService
from tests.processes import wait_for
from tests.servers import Consul
from tests.service import Service

pytestmark = pytest.mark.needs("consul")

SHOP = """\
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit.contracts import SERVICES


async def call(request):
    async with SERVICES(request).client("inventory").get("/stock") as response:
        return PlainTextResponse(await response.text())


app = Starlette(routes=[Route("/call", call)])
"""
CALLS = 40


def toml(consul: Consul, stock: StockService) -> str:
    return f"""\
[app]
target = "service:app"
[server]
workers = 4
operator_networks = ["127.0.0.1"]
drain_delay = "0s"
[plugins.console]
[plugins.discovery]
source = "consul"
consul = "{consul.url}"
service = "shop"
cache_dir = ""
services = {{ inventory = ["{stock.url}"] }}
"""


def get(service: Service, path: str) -> httpx2.Response:
    with httpx2.Client(base_url=service.url, trust_env=False, timeout=60) as client:
        return client.get(path)


def page(service: Service) -> dict[str, Any]:
    return {block.get("title", ""): block for block in get(service, "/-/discovery.json").json()["blocks"]}


def test_the_page_adds_up_four_workers() -> None:
    with Consul() as consul, StockService() as stock, Service(toml(consul, stock), {"service": SHOP}) as shop:
        assert [get(shop, "/call").status_code for _ in range(CALLS)] == [200] * CALLS
        (row,) = page(shop)["Services"]["rows"]
        assert (row[0], row[1]["text"], row[2]) == ("inventory", "1 of 1", CALLS)
        workers = {row[2] for row in page(shop)["Instances of inventory"]["rows"]}
        assert workers <= {"1", "2", "3", "4"}
        assert len(workers) > 1, "all calls were those of one worker"
        wait_for("the registration", lambda: page(shop)[""]["facts"]["registration"]["text"] == "registered")
        facts = page(shop)[""]["facts"]
        assert facts["registered as"].startswith("shop-")
        assert facts["last error"] is None
