from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command_line import scalekit
from tests.discovery.consul.api import entries, wait_until_registered
from tests.discovery.harness import StockService, registered_toml
from tests.discovery.kubernetes.api_server import ApiServer, endpoint, port
from tests.servers import Consul


@pytest.fixture(scope="module")
def stock() -> Iterator[StockService]:
    with StockService() as stock:
        yield stock


def run(folder: Path, *arguments: str, toml: str) -> CompletedProcess[str]:
    (folder / "scalekit.toml").write_text(toml)
    return scalekit("discovery", *arguments, folder=folder)


def static(stock: StockService) -> str:
    return f'[plugins.discovery]\nservices = {{inventory = ["{stock.url}"]}}\n'


def test_list_prints_the_instances_of_the_configuration_file(stock: StockService, tmp_path: Path) -> None:
    done = run(tmp_path, "list", toml=static(stock))
    assert done.returncode == 0, done.stderr
    assert stock.url in done.stdout
    missing = run(tmp_path, "list", "nothing", toml=static(stock))
    assert missing.returncode == 1
    assert "no healthy instance is known" in missing.stderr


def test_call_prints_the_response_and_exits_with_its_failure(stock: StockService, tmp_path: Path) -> None:
    done = run(tmp_path, "call", "inventory", "/stock", toml=static(stock))
    assert done.returncode == 0, done.stderr
    assert '"pid"' in done.stdout
    assert run(tmp_path, "call", "inventory", "/nowhere", toml=static(stock)).returncode == 1
    posted = run(tmp_path, "call", "inventory", "/stock", "-X", "POST", "-d", "x", toml=static(stock))
    assert posted.returncode == 0
    unknown = run(tmp_path, "call", "nothing", "/", toml=static(stock))
    assert unknown.returncode == 1
    assert "nothing: the configuration file has no healthy instance" in unknown.stderr


@pytest.mark.needs("consul")
def test_commands_query_consul_and_change_no_registration(tmp_path: Path) -> None:
    with Consul() as consul, StockService(registered_toml(consul)) as stock:
        (identifier,) = wait_until_registered(consul, "inventory")
        toml = f"{registered_toml(consul)}".replace("[server]\n", f"[server]\nport = {stock.port}\n", 1)
        listed = run(tmp_path, "list", toml=toml)
        assert identifier in listed.stdout, listed.stderr
        assert run(tmp_path, "call", "inventory", "/stock", toml=toml).returncode == 0
        (entry,) = entries(consul, "inventory")
        assert {check["Status"] for check in entry["Checks"]} == {"passing"}


def test_list_prints_the_services_with_endpoint_slices(tmp_path: Path) -> None:
    with ApiServer(tmp_path) as server:
        server.put("inventory", endpoint("10.0.0.1", pod="inventory-a"), ports=[port(80)])
        server.put("prices", endpoint("10.0.0.2", pod="prices-a"), ports=[port(80)])
        table = {key: value for key, value in server.table().items() if key != "tls"}
        lines = "\n".join(f'{key} = "{value}"' for key, value in table.items())
        done = run(tmp_path, "list", toml=f'[plugins.discovery]\n{lines}\ntls = {{ca_file = "{server.ca_file}"}}\n')
        assert "inventory-a:80" in done.stdout, done.stderr
        assert "prices-a:80" in done.stdout
