"""The generated compose.yaml is valid for Compose, and its containers find each other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scalekit.deploy import ServiceDescription
from scalekit.deploy.compose import COMPOSE, EXAMPLE, FILE
from scalekit.deploy.environment import value_of
from scalekit.settings import Settings, load
from tests.certificates import Authority
from tests.host.deploy.conftest import ROOT, Describe, describe_sample
from tests.servers import find

PASSWORD = "0123456789abcdef0123456789abcdef"
SAMPLES = ("production.toml", "one_database.toml", "scalekit.toml")
APP = '[app]\ntarget = "shop:app"\n'

pytestmark = pytest.mark.needs("compose-config")


class Project:
    """A project as Compose reads it: with the variables of .env, in which every value of the example is set."""

    def __init__(self, service: ServiceDescription, folder: Path, **options: object) -> None:
        self.files = COMPOSE.generate(service, options)
        for name, text in self.files.items():
            (folder / name).write_text(text)
        (folder / ".env").write_text(self.files.get(EXAMPLE, "").replace("=\n", f"={PASSWORD}\n"))
        result = read(folder)
        assert result.returncode == 0, result.stderr
        self.services: dict[str, Any] = json.loads(result.stdout)["services"]

    def settings(self, file: Path, name: str) -> Settings:
        """Return the settings with which the container *name* starts."""
        container = self.services[name]
        words = [word.replace("$$", "$") for word in container["command"]]
        overrides = [value for option, value in zip(words[1::2], words[2::2], strict=True) if option == "--set"]
        return load(str(file), overrides, (), container.get("environment", {}))


def read(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [find("compose-config"), str(folder / FILE)]
    return subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_files_of_the_sample_give_containers_that_start(name: str, tmp_path: Path) -> None:
    service = describe_sample(name)
    project = Project(service, tmp_path)
    settings = project.settings(ROOT / "sample_app" / name, service.name)
    assert [str(problem) for problem in settings.document.problems if "there is no folder" not in problem.message] == []
    hosts = {urls_host(value_of(settings, key_path(server.key))) for server in service.servers}
    assert hosts <= set(project.services), "each server is a container"
    assert settings.server.host == "0.0.0.0"


def key_path(key: str) -> tuple[str | int, ...]:
    name, _, index = key.partition("[")
    return (*name.split("."), *([int(index[:-1])] if index else []))


def urls_host(value: Any) -> str:
    return str(value[0][0] if isinstance(value, tuple) else value.parts.host)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_container_has_a_health_check_and_all_that_is_waited_for_exists(name: str, tmp_path: Path) -> None:
    services = Project(describe_sample(name), tmp_path).services
    one_shot = {name for name, each in services.items() if each.get("restart") == "no"}
    assert {name for name, each in services.items() if not each.get("healthcheck")} == one_shot
    for each in services.values():
        for other, condition in each.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in one_shot else "service_healthy"
            assert condition["condition"] == expected


def test_a_secret_that_is_not_set_is_named_before_anything_starts(tmp_path: Path) -> None:
    files = COMPOSE.generate(describe_sample("production.toml"), {})
    names = [line[:-1] for line in files[EXAMPLE].splitlines() if line.endswith("=")]
    assert names == ["POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "JWT_SECRET", "REPLICA_SECRET"]
    (tmp_path / FILE).write_text(files[FILE])
    for name in names:
        (tmp_path / ".env").write_text("".join(f"{each}=x\n" for each in names if each != name))
        result = read(tmp_path)
        assert result.returncode == 1
        assert f"{name} is missing a value: set it in .env" in result.stderr


def test_the_grace_period_and_the_limits_of_the_container_are_set(describe: Describe, tmp_path: Path) -> None:
    container = Project(describe(f'{APP}[server]\ndrain_delay = "2m"\n'), tmp_path).services["shop"]
    assert container["stop_grace_period"] == "2m45s"
    assert (container["read_only"], container["cap_drop"], container["tmpfs"]) == (True, ["ALL"], ["/tmp"])


LITERAL = f"""{APP}
[plugins.pool]
urls = ["postgresql://127.0.0.1/a", "postgresql://${{SECOND}}/a"]
[plugins.replica]
urls = ["postgresql://a@127.0.0.1/a", "postgresql://a@127.0.0.2/a"]
secret = "${{REPLICA_SECRET}}"
[plugins.cache]
url = "redis://127.0.0.1:6379/3"
[plugins.ratelimit]
url = "redis-sentinel://127.0.0.1/main"
[plugins.cluster-cache]
nodes = ["10.0.0.1:6379", "10.0.0.2:6379"]
[plugins.queue]
url = "amqp://guest:${{AMQP_PASSWORD}}@127.0.0.1/"
[plugins.tracing]
endpoint = "http://127.0.0.1:4318"
[plugins.discovery]
source = "consul"
"""


def test_addresses_in_the_file_are_replaced_by_those_of_containers(describe: Describe, tmp_path: Path) -> None:
    project = Project(describe(LITERAL), tmp_path)
    settings = project.settings(tmp_path / "scalekit.toml", "shop")
    assert settings.document.problems == []
    tables: dict[str, Any] = {**settings.tables}
    assert [url.reveal() for url in tables["pool"].urls] == [f"postgresql://app:{PASSWORD}@postgresql:5432/app"]
    assert [url.parts.host for url in tables["replica"].urls] == ["postgresql-replica-1", "postgresql-replica-2"]
    assert {project.services[name]["shm_size"] for name in ("postgresql", "postgresql-replica-1")} == {str(256 << 20)}
    assert tables["cache"].url.reveal() == "redis://redis:6379/0"
    assert tables["ratelimit"].url.reveal() == "redis-sentinel://redis-sentinel:26379/main"
    assert tables["cluster-cache"].nodes == (("redis-cluster", 6379),)
    assert tables["queue"].url.reveal() == f"amqp://app:{PASSWORD}@rabbitmq:5672/"
    assert tables["tracing"].endpoint.reveal() == "http://otlp:4318"
    assert tables["discovery"].consul.reveal() == "http://consul:8500"
    assert "AMQP_PASSWORD" not in project.files[EXAMPLE], "the replaced value has no variable of the file"


def test_no_password_is_in_the_arguments_of_a_process(describe: Describe, tmp_path: Path) -> None:
    command = Project(describe(LITERAL), tmp_path).services["shop"]["command"]
    assert not any(PASSWORD in word for word in command)


def test_mysql_is_a_mariadb(describe: Describe, tmp_path: Path) -> None:
    project = Project(describe(f'{APP}[plugins.pool]\nurl = "mysql://127.0.0.1/d"\n'), tmp_path)
    assert project.services["mysql"]["environment"]["MARIADB_PASSWORD"] == PASSWORD
    table: Any = project.settings(tmp_path / "scalekit.toml", "shop").tables["pool"]
    assert table.url.reveal() == f"mariadb://app:{PASSWORD}@mysql:3306/app"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ("[plugins.cache]\n%s", ["--save", "", "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]),
        ("[plugins.cache]\n%s[plugins.ratelimit]\n%s", ["--appendonly", "yes"]),
    ],
)
def test_redis_evicts_values_only_when_all_of_them_are_cached(
    tables: str, words: list[str], describe: Describe, tmp_path: Path
) -> None:
    services = Project(describe(APP + tables.replace("%s", 'url = "redis://h"\n')), tmp_path).services
    assert services["redis"]["command"] == ["redis-server", *words]


def test_an_embedded_service_keeps_its_files_in_a_volume_and_needs_no_secrets(
    describe: Describe, tmp_path: Path
) -> None:
    project = Project(describe(f"{APP}[plugins.pool]\n"), tmp_path)
    assert list(project.files) == [FILE]
    (container,) = project.services.values()
    assert [(each["source"], each["target"]) for each in container["volumes"]] == [("shop-data", "/data")]
    assert "plugins.pool.url=sqlite:////data/data.db" in container["command"]


def test_folders_with_data_are_volumes_of_their_own(describe: Describe, tmp_path: Path) -> None:
    toml = f'{APP}[plugins.pool]\nurl = "sqlite:///a.db"\n[plugins.queue]\nurl = "sqlite:////var/lib/a.db"\n'
    container = Project(describe(toml), tmp_path).services["shop"]
    assert [(each["source"], each["target"]) for each in container["volumes"]] == [
        ("shop-data", "/data"),
        ("shop-data-var-lib", "/var/lib"),
    ]


def test_consumers_that_run_in_workers_have_containers_without_ports(describe: Describe, tmp_path: Path) -> None:
    toml = f'{APP}[plugins.queue]\nurl = "${{AMQP_URL}}"\nconsume_in = "workers"\n'
    project = Project(describe(toml), tmp_path)
    worker = project.services["shop-worker"]
    assert project.settings(tmp_path / "scalekit.toml", "shop-worker").server.role == "worker"
    assert "ports" not in worker
    assert worker["healthcheck"] == {"disable": True}
    managed = Project(describe(f'{toml}[server]\nmanagement_address = "127.0.0.1:9100"\n'), tmp_path).services
    assert "127.0.0.1:9100/health/ready'" in managed["shop-worker"]["healthcheck"]["test"][-1]


def test_migrations_are_applied_before_the_service_starts(describe: Describe, tmp_path: Path) -> None:
    pool = f'{APP}[plugins.pool]\nurl = "${{DATABASE_URL}}"\n'
    assert "shop-migration" not in Project(describe(pool), tmp_path).services, "the project has no migrations"
    (tmp_path / "migrations").mkdir()
    services = Project(describe(pool), tmp_path).services
    migration, web = services["shop-migration"], services["shop"]
    assert migration["command"] == ["pool", "migrate", *web["command"][1:]]
    assert migration["environment"] == web["environment"]
    assert (migration["restart"], migration["healthcheck"]) == ("no", {"disable": True})
    assert migration["depends_on"]["postgresql"]["condition"] == "service_healthy"
    assert web["depends_on"]["shop-migration"]["condition"] == "service_completed_successfully"
    at_start = Project(describe(f"{pool}migrate_on_start = true\n"), tmp_path).services
    assert "shop-migration" not in at_start


def test_files_that_may_be_lost_are_where_a_container_can_write(tmp_path: Path) -> None:
    command = Project(describe_sample("production.toml"), tmp_path).services["sample-app"]["command"]
    assert "plugins.discovery.cache_dir=/tmp/cache/.discovery" in command


def test_several_instances_have_a_port_each_and_several_workers_share_one(describe: Describe, tmp_path: Path) -> None:
    container = Project(describe(APP), tmp_path, instances=3).services["shop"]
    assert (container["deploy"]["replicas"], container["ports"][0]["published"]) == (3, "8000-8002")
    container = Project(describe(APP, "server.workers=4"), tmp_path).services["shop"]
    assert container["command"] == ["run", "--set", "server.workers=4", "--set", "server.host=0.0.0.0"]


def test_the_published_port_is_the_variable_of_the_file(describe: Describe, tmp_path: Path) -> None:
    project = Project(describe(f'{APP}[server]\nport = "${{PORT:-8080}}"\n'), tmp_path)
    assert '- "${PORT:-8080}:8080"\n' in project.files[FILE]
    assert project.services["shop"]["environment"] == {"PORT": "8080"}


def test_a_dollar_sign_of_a_default_and_an_override_stays(describe: Describe, tmp_path: Path) -> None:
    toml = f'{APP}[plugins.logging]\nservice = "${{NAME:-a$b}}"\nfields = {{a = "b"}}\n'
    project = Project(describe(toml, "plugins.logging.fields.a=x$y"), tmp_path)
    table: Any = project.settings(tmp_path / "scalekit.toml", "shop").tables["logging"]
    assert (table.service, table.fields["a"]) == ("a$b", "x$y")


def test_a_service_with_the_name_of_a_server_is_another_container(describe: Describe, tmp_path: Path) -> None:
    services = Project(describe('[app]\nname = "redis"\n[plugins.cache]\nurl = "redis://h"\n'), tmp_path).services
    assert sorted(services) == ["redis", "redis-app"]


def test_the_certificate_and_its_key_are_mounted(describe: Describe, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("shop")
    container = Project(describe(f"{APP}[server.tls]\n{files.toml}"), tmp_path).services["shop"]
    assert [(each["source"], each["target"], each["read_only"]) for each in container["volumes"]] == [
        (str(path), str(path), True) for path in (files.certificate, files.key)
    ]
    assert "https://127.0.0.1:8000/health/ready" in container["healthcheck"]["test"][-1]


def test_a_dollar_sign_of_a_path_stays(describe: Describe, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("shop$x")
    container = Project(describe(f"{APP}[server.tls]\n{files.toml}"), tmp_path).services["shop"]
    assert [each["source"].replace("$$", "$") for each in container["volumes"]] == [
        str(path) for path in (files.certificate, files.key)
    ]
