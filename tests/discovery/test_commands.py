from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command_line import scalekit
from tests.discovery.consul.test_source import entries, wait_until_registered
from tests.discovery.harness import Stock, registered
from tests.servers import Consul


@pytest.fixture(scope="module")
def stock() -> Iterator[Stock]:
    with Stock() as stock:
        yield stock


def run(folder: Path, *arguments: str, toml: str) -> CompletedProcess[str]:
    (folder / "scalekit.toml").write_text(toml)
    return scalekit("discovery", *arguments, folder=folder)


def static(stock: Stock) -> str:
    return f'[plugins.discovery]\nservices = {{inventory = ["{stock.url}"]}}\n'


def test_list_shows_the_instances_of_the_file(stock: Stock, tmp_path: Path) -> None:
    done = run(tmp_path, "list", toml=static(stock))
    assert done.returncode == 0, done.stderr
    assert stock.url in done.stdout
    missing = run(tmp_path, "list", "nothing", toml=static(stock))
    assert missing.returncode == 1
    assert "no healthy instance is known" in missing.stderr


def test_call_prints_the_answer_and_tells_failure_by_its_status(stock: Stock, tmp_path: Path) -> None:
    done = run(tmp_path, "call", "inventory", "/stock", toml=static(stock))
    assert done.returncode == 0, done.stderr
    assert '"pid"' in done.stdout
    assert run(tmp_path, "call", "inventory", "/nowhere", toml=static(stock)).returncode == 1
    posted = run(tmp_path, "call", "inventory", "/stock", "-X", "POST", "-d", "x", toml=static(stock))
    assert posted.returncode == 0
    gone = run(tmp_path, "call", "nothing", "/", toml=static(stock))
    assert gone.returncode == 1
    assert "nothing: the file knows no healthy instance" in gone.stderr


@pytest.mark.needs("consul")
def test_commands_ask_consul_and_leave_what_is_registered_as_it_is(tmp_path: Path) -> None:
    with Consul() as consul, Stock(registered(consul)) as stock:
        (identifier,) = wait_until_registered(consul, "inventory")
        toml = f"{registered(consul)}".replace("[server]\n", f"[server]\nport = {stock.port}\n", 1)
        listed = run(tmp_path, "list", toml=toml)
        assert identifier in listed.stdout, listed.stderr
        assert run(tmp_path, "call", "inventory", "/stock", toml=toml).returncode == 0
        (entry,) = entries(consul, "inventory")
        assert {check["Status"] for check in entry["Checks"]} == {"passing"}
