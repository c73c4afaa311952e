"""The description of a service from its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalekit.deploy.data_path import DataPath
from scalekit.deploy.inspection import describe_service
from scalekit.errors import ConfigError
from tests.host.deploy.conftest import Describe, describe_sample


def test_every_server_of_the_production_file_is_found() -> None:
    found = {server.key: server.kind for server in describe_sample("production.toml").servers}
    assert found == {
        "plugins.pool.url": "postgresql",
        "plugins.replica.urls[0]": "postgresql",
        "plugins.cluster-cache.nodes": "redis-cluster",
        "plugins.ratelimit.url": "redis",
        "plugins.queue.url": "rabbitmq",
        "plugins.broadcast.url": "redis",
        "plugins.discovery.consul": "consul",
    }


def test_one_database_is_the_only_server_of_its_file() -> None:
    (server,) = describe_sample("one_database.toml").servers
    assert (server.kind, server.key, server.variables) == ("postgresql", "plugins.pool.url", ("DATABASE_URL",))


def test_an_embedded_service_has_no_server_and_keeps_its_files() -> None:
    service = describe_sample("scalekit.toml")
    assert service.servers == ()
    assert [(each.key, each.value) for each in service.data_paths] == [
        ("plugins.jwt.key_file", "/data/sample-keys.json"),
        ("plugins.pool.url", "sqlite:////data/sample.db"),
        ("plugins.queue.url", "sqlite:////data/sample-queue.db"),
    ]
    assert service.container_environment["DATABASE_URL"] == "sqlite:////data/sample.db"


def test_a_path_without_a_variable_is_moved_by_an_override_and_an_absolute_one_stays(describe: Describe) -> None:
    service = describe('[plugins.pool]\n[plugins.queue]\nurl = "sqlite:////tmp/q.db"\n')
    assert service.container_overrides == ("server.host=0.0.0.0", "plugins.pool.url=sqlite:////data/data.db")
    assert service.data_folders == ("/data", "/tmp")


def test_a_default_database_is_not_written_by_a_plugin_with_servers(describe: Describe) -> None:
    service = describe('[plugins.pool]\nurls = ["postgresql://a/d"]\n[plugins.queue]\n')
    assert [each.key for each in service.data_paths] == ["plugins.queue.url"]


@pytest.mark.parametrize(("exporter", "kinds"), [("", ["otlp"]), ('exporter = "none"\n', [])])
def test_traces_go_to_a_collector_unless_they_are_not_exported(
    exporter: str, kinds: list[str], describe: Describe
) -> None:
    assert [each.kind for each in describe(f"[plugins.tracing]\n{exporter}").servers] == kinds


def test_a_file_that_is_set_is_written_beside_servers(describe: Describe) -> None:
    service = describe('[plugins.jwt]\nkey_file = "k.json"\nsession_store = "redis"\nredis_url = "redis://h"\n')
    assert [each.key for each in service.data_paths] == ["plugins.jwt.key_file"]


def test_packages_have_the_extras_of_plugins_and_servers(describe: Describe) -> None:
    (package,) = describe('[plugins.pool]\nurl = "mysql://u@h/d"\n[plugins.headers]\n').packages
    assert package.startswith("scalekit-asgi[mysql,pool]>=")
    assert "+" not in package


@pytest.mark.parametrize(
    ("app", "name"),
    [
        ('name = "Shop_1.eu"', "shop-1-eu"),
        ('target = "my_shop.app:app"', "my-shop"),
        ("", "app"),
        (f'name = "{"a" * 100}"', "a" * 63),
    ],
)
def test_the_name_is_a_dns_label(app: str, name: str, describe: Describe) -> None:
    assert describe(f"[app]\n{app}\n").name == name


def test_the_files_that_a_file_extends_belong_to_it() -> None:
    files = describe_sample("production_inventory.toml").files
    assert list(files) == ["sample_app/production_inventory.toml", "sample_app/inventory.toml"]


def test_paths_with_folders_are_files_of_the_volume_itself() -> None:
    paths = {path: DataPath("key", path).value for path in ("b/keys.json", "../b.db", "./logs", "/var/log/x")}
    assert paths == {
        "b/keys.json": "/data/b-keys.json",
        "../b.db": "/data/b.db",
        "./logs": "/data/logs",
        "/var/log/x": "/var/log/x",
    }


def test_addresses_are_those_of_a_container(describe: Describe) -> None:
    service = describe('[server]\nhost = "unix:/run/a.sock"\nport = 0\nmanagement_address = "unix:/run/m.sock"\n')
    assert service.container_overrides == (
        "server.host=0.0.0.0",
        "server.port=8000",
        "server.management_address=0.0.0.0:9100",
    )
    assert (service.socket, service.port, service.health_port) == ("/run/a.sock", 8000, 9100)


def test_a_worker_without_management_address_has_no_health_port(describe: Describe) -> None:
    assert describe('[server]\nrole = "worker"\n').health_port is None
    assert describe('[server]\nrole = "worker"\nmanagement_address = "127.0.0.1:9100"\n').health_port == 9100


def test_the_grace_period_covers_all_steps_of_the_stop(describe: Describe) -> None:
    service = describe('[server]\ndrain_delay = "3s"\ngraceful_timeout = "1500ms"\nstop_timeout = "2s"\n')
    assert service.grace_period == 7 + 5


@pytest.mark.parametrize(("consume_in", "needed"), [("workers", True), ("everywhere", False)])
def test_consumers_in_workers_need_processes_of_that_role(consume_in: str, needed: bool, describe: Describe) -> None:
    assert describe(f'[plugins.queue]\nconsume_in = "{consume_in}"\n').needs_worker_role is needed


def test_metrics_have_a_path_when_they_are_enabled(describe: Describe) -> None:
    assert describe('[plugins.metrics]\npath = "/m"\n').metrics_path == "/m"
    assert describe("").metrics_path == ""


def test_the_project_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "scalekit.toml").write_text("")
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    project = describe_service("scalekit.toml", (), "", tmp_path).project
    assert (project.has_dependencies, project.is_installable, project.requirement_files) == (False, False, ())
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\n[build-system]\n')
    (tmp_path / "requirements.txt").write_text("")
    project = describe_service("scalekit.toml", (), "", tmp_path).project
    assert (project.has_dependencies, project.is_installable) == (True, True)
    assert project.requirement_files == ("requirements.txt",)


def test_a_missing_file_is_a_mistake_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        describe_service("none.toml", (), "", tmp_path)
