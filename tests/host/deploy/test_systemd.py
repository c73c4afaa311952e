"""The generated units are valid for systemd, and agree with the file."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from scalekit.deploy import ServiceDescription
from scalekit.deploy.systemd import SYSTEMD
from scalekit.errors import ConfigError
from tests.host.deploy.conftest import Describe, describe_sample
from tests.servers import find

APP = '[app]\ntarget = "shop:app"\n'
SAMPLES = ("production.toml", "one_database.toml", "scalekit.toml")
MAX_EXPOSURE = 20
"""Tenths of the exposure of 0 (none) to 10 that `systemd-analyze security` computes."""


def units(service: ServiceDescription, **options: object) -> Mapping[str, str]:
    return SYSTEMD.generate(service, options)


def value(unit: str, key: str) -> str:
    (found,) = re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)
    return str(found)


def installed_version() -> int:
    output = subprocess.run([find("systemd-analyze"), "--version"], capture_output=True, text=True, timeout=60).stdout
    return int(output.split()[1].partition(".")[0])


def install(service: ServiceDescription, folder: Path, **options: object) -> list[str]:
    """Write the units and a command at the path that they name; return the paths of the units."""
    command = folder / "project" / ".venv" / "bin" / "scalekit"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    found = units(service, directory=str(folder / "project"), systemd_version=installed_version(), **options)
    for name, text in found.items():
        (folder / name).write_text(text)
    return [str(folder / name) for name in found if not name.endswith(".example")]


WHOLE = f"""{APP}
[server]
management_address = "127.0.0.1:9100"
workers = 2
[plugins.pool]
url = "sqlite:////var/cache/shop.db"
[plugins.queue]
consume_in = "workers"
[plugins.logging]
directory = "logs"
fields = {{ percent = "5%%", dollar = "$${{x}}" }}
"""


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("instances", [1, 2])
def test_systemd_reads_every_unit_without_a_complaint(instances: int, describe: Describe, tmp_path: Path) -> None:
    for index, service in enumerate(
        [*map(describe_sample, SAMPLES), describe(WHOLE, "plugins.logging.service=a b%c$d")]
    ):
        folder = tmp_path / str(index)
        folder.mkdir()
        paths = install(service, folder, instances=instances)
        command = [find("systemd-analyze"), "verify", "--man=no", *paths]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        complaints = [line for line in result.stderr.splitlines() if str(folder) in line or service.name in line]
        assert (result.returncode, complaints) == (0, []), result.stderr


@pytest.mark.needs("systemd-analyze")
def test_a_service_has_little_access_to_the_machine(describe: Describe, tmp_path: Path) -> None:
    path = install(describe(APP), tmp_path)[0]
    command = [find("systemd-analyze"), "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


def test_the_times_are_those_of_the_file(describe: Describe) -> None:
    unit = units(describe(f'{APP}[server]\ndrain_delay = "1m"\nstart_timeout = "2m"\n'))["shop.service"]
    assert (value(unit, "TimeoutStopSec"), value(unit, "TimeoutStartSec")) == ("105s", "150s")


def test_the_service_reloads_as_its_version_of_systemd_can(describe: Describe) -> None:
    service = describe(APP)
    assert value(units(service)["shop.service"], "Type") == "notify-reload"
    older = units(service, systemd_version=252)["shop.service"]
    assert (value(older, "Type"), value(older, "ExecReload")) == ("notify", "kill -HUP $MAINPID")


@pytest.mark.parametrize(
    ("server", "listen", "more"),
    [
        ('host = "0.0.0.0"\nport = 443', "0.0.0.0:443", ""),
        ('host = "::"\nport = 80', "[::]:80", "BindIPv6Only=ipv6-only"),
        ('host = "unix:/run/shop/app.sock"\nsocket_mode = "0600"', "/run/shop/app.sock", "SocketMode=0600"),
        ('host = "unix:@shop"', "@shop", "Backlog=2048"),
        ('host = "localhost"\nbacklog = 10', "127.0.0.1:8000", "Backlog=10"),
    ],
)
def test_the_socket_has_the_address_of_the_file(server: str, listen: str, more: str, describe: Describe) -> None:
    socket = units(describe(f"{APP}[server]\n{server}\n"))["shop.socket"]
    assert value(socket, "ListenStream") == listen
    assert more in socket


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ('host = "shop.internal"', "server.host: systemd opens no socket for the name 'shop.internal'"),
        ("port = 0", "server.port: a socket unit needs a fixed port"),
    ],
)
def test_an_address_that_no_socket_unit_can_have_is_refused(server: str, message: str, describe: Describe) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        units(describe(f"{APP}[server]\n{server}\n"))


def test_the_management_address_is_a_second_socket_of_the_service(describe: Describe) -> None:
    found = units(describe(f'{APP}[server]\nmanagement_address = "10.0.0.1:9100"\n'))
    socket = found["shop-management.socket"]
    assert (value(socket, "ListenStream"), value(socket, "FileDescriptorName")) == ("10.0.0.1:9100", "management")
    assert value(socket, "Service") == "shop.service"
    assert value(found["shop.service"], "Sockets") == "shop.socket shop-management.socket"


def test_instances_have_units_with_ports_of_their_own_and_one_target(describe: Describe) -> None:
    found = units(describe(f'{APP}[server]\nmanagement_address = "127.0.0.1:9100"\n'), instances=2)
    assert value(found["shop-2.socket"], "ListenStream") == "127.0.0.1:8001"
    assert value(found["shop-2-management.socket"], "ListenStream") == "127.0.0.1:9101"
    assert "--set server.management_address=127.0.0.1:9101" in value(found["shop-2.service"], "ExecStart")
    assert value(found["shop.target"], "Wants") == "shop-1.service shop-2.service"
    assert value(found["shop-1.service"], "WantedBy") == "shop.target"


def test_several_workers_are_one_unit(describe: Describe) -> None:
    found = units(describe(APP, "server.workers=4"))
    assert list(found) == ["shop.service", "shop.socket"]
    assert value(found["shop.service"], "ExecStart") == (
        "/srv/shop/.venv/bin/scalekit run scalekit.toml --set server.workers=4"
    )


def test_consumers_in_workers_are_a_unit_without_a_socket(describe: Describe) -> None:
    unit = units(describe(WHOLE))["shop-worker.service"]
    assert "Sockets=" not in unit
    command = value(unit, "ExecStart")
    assert "--set server.role=worker" in command
    assert "--set server.management_address=unix:/run/shop-worker/management.sock" in command
    assert value(unit, "RuntimeDirectory") == "shop-worker"


def test_data_is_in_the_state_directory_and_other_folders_can_be_written(describe: Describe) -> None:
    unit = units(describe(WHOLE))["shop.service"]
    assert value(unit, "StateDirectory") == "shop"
    assert "--set plugins.logging.directory=/var/lib/shop/logs" in value(unit, "ExecStart")
    assert value(unit, "ReadWritePaths") == "/var/cache"
    sample = units(describe_sample("scalekit.toml"))["sample.service"]
    assert "Environment=DATABASE_URL=sqlite:////var/lib/sample/sample.db" in sample


def test_files_that_may_be_lost_are_in_the_cache_directory() -> None:
    unit = units(describe_sample("production.toml"))["sample-app.service"]
    assert value(unit, "CacheDirectory") == "sample-app"
    assert "--set plugins.discovery.cache_dir=/var/cache/sample-app/.discovery" in value(unit, "ExecStart")


@pytest.mark.parametrize(("name", "user"), [("shop", "shop"), ("3d" + "-shop" * 9, "_3d-shop-shop-shop-shop-shop-sh")])
def test_units_that_share_folders_share_their_user(name: str, user: str, describe: Describe) -> None:
    service = describe(f'[app]\ntarget = "shop:app"\nname = "{name}"\n[plugins.queue]\nconsume_in = "workers"\n')
    found = [text for file, text in units(service).items() if file.endswith(".service")]
    assert [(value(unit, "User"), value(unit, "DynamicUser")) for unit in found] == [(user, "yes")] * 2
    pair = [text for file, text in units(describe(APP), instances=2).items() if file.endswith(".service")]
    assert [value(unit, "User") for unit in pair] == ["shop", "shop"]
    assert "User=shop" not in units(describe(APP))["shop.service"], "a single unit has the user of its name"


def test_special_characters_of_arguments_are_escaped(describe: Describe) -> None:
    unit = units(describe(f"{APP}[plugins.logging]\n", "plugins.logging.service=a b%c$d\ne"))["shop.service"]
    assert '--set "plugins.logging.service=a b%%c$$d\\ne"' in value(unit, "ExecStart")


def test_secrets_are_in_a_file_of_their_own() -> None:
    found = units(describe_sample("one_database.toml"))
    assert value(found["sample-app.service"], "EnvironmentFile") == "/etc/sample-app/environment"
    lines = found["sample-app.env.example"].splitlines()
    assert lines[2:] == ["DATABASE_URL=", "# INVENTORY_PORT=8001", "JWT_SECRET=", "# PORT=8000"]


def test_a_fixed_user_replaces_the_dynamic_one(describe: Describe) -> None:
    unit = units(describe(APP), user="shop")["shop.service"]
    assert value(unit, "User") == "shop"
    assert "DynamicUser" not in unit


def test_no_value_ends_a_line(describe: Describe) -> None:
    toml = f'{APP}[plugins.logging]\nservice = "${{NAME:-a\\nB=1}}"\n'
    found = units(describe(toml, "plugins.logging.fields.a=x\rUser=root\u2028y\x0b"))
    assert r"\rUser=root\u2028y\x0b" in value(found["shop.service"], "ExecStart")
    assert r"# NAME=a\nB=1" in found["shop.env.example"].splitlines()
    assert not any(line.startswith(("B=", "User=")) for text in found.values() for line in text.splitlines())


@pytest.mark.parametrize(
    ("option", "text"),
    [("--user", "shop\nGroup=root"), ("--user", "-"), ("--directory", "srv"), ("--directory", "/a\nb")],
)
def test_options_that_are_no_user_and_no_folder_are_refused(option: str, text: str) -> None:
    command = click.Command("systemd", params=list(SYSTEMD.options))
    with pytest.raises(click.BadParameter, match="expected"):
        command.make_context("systemd", [option, text])
