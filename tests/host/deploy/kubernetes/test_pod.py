"""Probes, shutdown, privileges and volumes of the pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalekit.deploy.kubernetes.manifests import KUBERNETES
from scalekit.errors import ConfigError
from tests.certificates import Authority
from tests.host.deploy.conftest import Describe
from tests.host.deploy.kubernetes.documents import QUEUE_WORKER, container, objects, pod

APP = '[app]\ntarget = "shop:app"\n'


@pytest.mark.parametrize(
    ("server", "sleep", "grace"),
    [
        ("", 0, 5 + 30 + 10 + 5),
        ('drain_delay = "0s"', 5, 5 + 0 + 30 + 10 + 5),
        ('drain_delay = "1500ms"\ngraceful_timeout = "90s"', 4, 4 + 1.5 + 90 + 10 + 5 + 0.5),
        ('drain_delay = "20s"\nstop_timeout = "1s"', 0, 20 + 30 + 1 + 5),
    ],
)
def test_the_grace_period_covers_pre_stop_drain_requests_and_plugins(
    describe: Describe, server: str, sleep: int, grace: float
) -> None:
    found = objects(describe(f"{APP}[server]\n{server}\n"))
    hook = container(found, "shop").get("lifecycle", {"preStop": {"sleep": {"seconds": 0}}})
    assert hook["preStop"]["sleep"]["seconds"] == sleep
    assert pod(found, "shop")["terminationGracePeriodSeconds"] == grace


def test_probes_use_the_management_address_and_allow_the_whole_start(describe: Describe) -> None:
    only = container(objects(describe(f'{APP}[server]\nstart_timeout = "50s"\n[health]\npath = "/up"\n')), "shop")
    start, ready, live = (only[name] for name in ("startupProbe", "readinessProbe", "livenessProbe"))
    assert (start["httpGet"]["path"], ready["httpGet"]["path"]) == ("/up/live", "/up/ready")
    assert live["httpGet"] == {"path": "/up/live", "port": "management"}
    assert start["failureThreshold"] * start["periodSeconds"] >= 50
    more = container(objects(describe(f"{APP}[plugins.logging]\n[plugins.pool]\n[server]\n")), "shop")["startupProbe"]
    assert more["failureThreshold"] * more["periodSeconds"] >= 3 * 30, "plugins start one after the other"
    assert "server.management_address=0.0.0.0:9100" in only["args"]


def test_the_management_address_of_the_file_is_used_and_never_the_public_port(describe: Describe) -> None:
    named = container(objects(describe(f'{APP}[server]\nmanagement_address = "127.0.0.1:9300"\n')), "shop")
    assert {"name": "management", "containerPort": 9300} in named["ports"]
    assert "server.management_address=0.0.0.0:9300" in named["args"]
    taken = container(objects(describe(f"{APP}[server]\nport = 9100\n")), "shop")
    assert [each["containerPort"] for each in taken["ports"]] == [9100, 9101]


def test_containers_have_no_privileges_and_write_to_tmp_only(describe: Describe) -> None:
    spec = pod(objects(describe(QUEUE_WORKER)), "shop")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (only,) = spec["containers"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [each["mountPath"] for each in only["volumeMounts"] if not each.get("readOnly")] == ["/tmp"]
    assert "plugins.discovery.cache_dir=/tmp/cache/.discovery" in only["args"]


def test_a_volume_keeps_the_modes_of_files_such_as_keys(describe: Describe) -> None:
    security = pod(objects(describe(f'{APP}[plugins.jwt]\nkey_file = "keys.json"\n')), "shop")["securityContext"]
    assert security["fsGroupChangePolicy"] == "OnRootMismatch", "otherwise each start opens the file to the group"
    assert "fsGroupChangePolicy" not in pod(objects(describe(APP)), "shop")["securityContext"]


def test_many_workers_in_a_pod_get_resources_in_proportion_and_time_to_start(describe: Describe) -> None:
    one = container(objects(describe(APP)), "shop")
    four = container(objects(describe(APP, "server.workers=4")), "shop")
    assert (one["resources"]["requests"]["cpu"], four["resources"]["requests"]["cpu"]) == ("250m", "1000m")
    assert four["startupProbe"]["failureThreshold"] * four["startupProbe"]["periodSeconds"] == 300
    assert "server.workers=4" in four["args"]


def test_migrations_are_applied_before_the_service_starts(describe: Describe, tmp_path: Path) -> None:
    pool = f'{APP}[plugins.pool]\nurl = "${{DATABASE_URL}}"\n'
    assert "initContainers" not in pod(objects(describe(pool)), "shop"), "the project has no migrations"
    (tmp_path / "migrations").mkdir()
    (migration,) = pod(objects(describe(pool)), "shop")["initContainers"]
    assert migration["args"][:2] == ["pool", "migrate"]
    assert "DATABASE_URL" in [each["name"] for each in migration["env"]]
    at_start = pod(objects(describe(f"{pool}migrate_on_start = true\n")), "shop")
    assert "initContainers" not in at_start


def test_the_certificate_is_mounted_from_a_secret(describe: Describe, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("shop")
    found = objects(describe(f"{APP}[server.tls]\n{files.toml}"))
    only = container(found, "shop")
    assert only["ports"][0]["name"] == "https"
    assert found["Service/shop"]["spec"]["ports"][0]["port"] == 443
    (volume,) = [each for each in pod(found, "shop")["volumes"] if each["name"] == "tls"]
    assert [each["path"] for each in volume["secret"]["items"]] == ["shop.pem", "shop.key"]
    assert {"name": "tls", "mountPath": str(tmp_path), "readOnly": True} in only["volumeMounts"]
    (tmp_path / "keys").mkdir()
    moved = files.key.rename(tmp_path / "keys" / "shop.key")
    toml = f'{APP}[server.tls]\ncert_file = "{files.certificate}"\nkey_file = "{moved}"\n'
    with pytest.raises(ConfigError, match="write absolute paths of files in one folder"):
        objects(describe(toml))


def test_the_authorities_of_client_certificates_are_in_the_secret_of_the_certificate(
    describe: Describe, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    clients = f'client_certificates = "optional"\nclient_ca_file = "{authority.file}"\n'
    service = describe(f"{APP}[server.tls]\n{authority.issue('shop').toml}{clients}")
    (volume,) = [each for each in pod(objects(service), "shop")["volumes"] if each["name"] == "tls"]
    assert {each["key"]: each["path"] for each in volume["secret"]["items"]} == {
        "tls.crt": "shop.pem",
        "tls.key": "shop.key",
        "ca.crt": "ca.pem",
    }
    note = "The pods need the Secret shop-tls with tls.crt and tls.key, and ca.crt, the authorities of client"
    assert note in KUBERNETES.generate(service, {})["kustomization.yaml"]


def test_kubernetes_replaces_nothing_in_arguments_and_paths_of_probes_are_encoded(describe: Describe) -> None:
    toml = f'{APP}[plugins.logging]\n[health]\npath = "/a b\'c"\n'
    only = container(objects(describe(toml, "plugins.logging.service=$(HOME) $${HOME}")), "shop")
    assert "plugins.logging.service=$$(HOME) $$$${HOME}" in only["args"]
    assert only["readinessProbe"]["httpGet"]["path"] == "/a%20b%27c/ready"
