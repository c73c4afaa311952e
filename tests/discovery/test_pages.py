"""The page of discovery, with services that run, fail and disappear."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from scalekit.contracts import SERVICES, ServiceClient
from scalekit.errors import Unavailable
from scalekit_discovery.recorded_calls import MAX_CALLS
from tests.console.clients import Browser, console_app
from tests.discovery.harness import DEFAULTS, StockService
from tests.discovery.kubernetes.api_server import ApiServer, endpoint, port
from tests.discovery.name_server import NameServer
from tests.processes import HOST, free_ports
from tests.servers import Consul, ask

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def console(**table: Any) -> AsyncGenerator[tuple[Browser, ServiceClient], None]:
    async with console_app({"discovery": {**DEFAULTS, **table}}) as browser:
        yield browser, browser.app.context.get(SERVICES).client("inventory")


async def blocks(browser: Browser) -> list[dict[str, Any]]:
    response = await browser.get("/-/discovery.json")
    assert response.status == 200
    found: list[dict[str, Any]] = orjson.loads(response.body)["blocks"]
    return found


async def rows(browser: Browser, title: str) -> list[dict[str, Any]]:
    (table,) = [block for block in await blocks(browser) if block.get("title") == title]
    names = [column["title"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


async def test_calls_are_shown_by_instance_and_an_ejection_can_be_ended() -> None:
    (dead,) = free_ports(1)
    with StockService() as stock:
        services = {"inventory": [stock.url, f"http://{HOST}:{dead}"]}
        async with console(services=services, consecutive_failures=1, ejection_time="1h") as (browser, client):
            for _ in range(20):
                async with client.get("/stock") as response:
                    await response.read()
            states = {row["address"]: row for row in await rows(browser, "Instances of inventory")}
            alive, gone = states[stock.url], states[f"http://{HOST}:{dead}"]
            assert alive["state"]["text"] == "healthy"
            assert (alive["without a response"], alive["in flight"], alive["weight"]) == (0.0, 0, 1)
            assert 0 < alive["p50"] <= alive["p95"]
            assert (gone["state"]["text"], gone["without a response"], gone["p50"]) == ("ejected", 1.0, None)
            assert 3000 < gone["ejection ends in"] <= 3600
            (service,) = await rows(browser, "Services")
            assert (service["responses"], service["ejections"]) == (20, 1)
            assert service["available instances"] == {"type": "badge", "text": "1 of 2", "tone": "warning"}
            assert service["retry budget left by worker"].startswith("1: ")
            values = gone["action"]["values"]
            done = orjson.loads((await browser.post_json("/-/discovery/end-ejection", values)).body)
            assert done["results"][0]["message"] == f"ended the ejection of {gone['instance']}"
            states = {row["address"]: row for row in await rows(browser, "Instances of inventory")}
            assert states[f"http://{HOST}:{dead}"]["state"]["text"] == "healthy"
            done = orjson.loads((await browser.post_json("/-/discovery/end-ejection", values)).body)
            assert done["results"][0]["message"] == "the instance is not ejected"


async def test_recorded_calls_are_bounded() -> None:
    with StockService() as stock:
        async with console(services={"inventory": [stock.url]}) as (browser, client):
            for _ in range(MAX_CALLS + 20):
                async with client.get("/stock") as response:
                    await response.read()
            directory: Any = browser.app.context.get(SERVICES)
            (endpoint,) = directory.upstreams["inventory"].load_balancer.endpoints
            assert len(endpoint.calls) == MAX_CALLS


async def test_a_source_that_is_unavailable_is_reported() -> None:
    with NameServer({("inventory.example.", "A"): ["<b>"]}) as server:
        server.failing = True
        table = {"source": "dns", "domain": "example", "nameserver": server.address, "initial_timeout": "50ms"}
        async with console(**table) as (browser, client):
            with pytest.raises(Unavailable):
                async with client.get("/stock"):
                    pass
            notice, unavailable = [block for block in await blocks(browser) if "tone" in block]
            assert notice["text"].startswith(f"DNS at {server.address} is unavailable")
            assert notice["remedy"] == "The last known instances of inventory are used."
            assert unavailable["text"] == "No instance of inventory is available: calls fail with 503."
            assert await rows(browser, "Instances of inventory") == []


async def test_instances_of_kubernetes_are_shown_with_their_zones(tmp_path: Path) -> None:
    with ApiServer(tmp_path) as server:
        server.put(
            "inventory", endpoint("10.0.0.1", pod="a", zone="eu-1"), endpoint("10.0.0.2", pod="b"), ports=[port(80)]
        )
        async with console(**server.table(zone="eu-1")) as (browser, _):
            assert len(await browser.app.context.get(SERVICES).instances("inventory")) == 2
            found = {row["instance"]: row["zone"] for row in await rows(browser, "Instances of inventory")}
            assert found == {"a:80": "eu-1", "b:80": None}


@pytest.mark.needs("consul")
async def test_instances_in_consul_with_hostile_names_are_escaped() -> None:
    name = "<script>alert(1)</script>"
    with Consul() as consul:
        definition = {"ID": name, "Name": "inventory", "Port": 1, "Address": HOST}
        ask(consul.port, "PUT", "/v1/agent/service/register", orjson.dumps(definition).decode())
        async with console(source="consul", consul=consul.url) as (browser, _):
            services = browser.app.context.get(SERVICES)
            assert [each.id for each in await services.instances("inventory")] == [name]
            (row,) = await rows(browser, "Instances of inventory")
            assert row["instance"] == name
            assert b"<script>alert" not in (await browser.get("/-/discovery")).body
