"""Configuration files and environment variables of the pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from scalekit.deploy.inspection import describe_service
from scalekit.deploy.kubernetes.manifests import KUBERNETES
from scalekit.errors import ConfigError
from tests.host.deploy.conftest import Describe
from tests.host.deploy.kubernetes.documents import QUEUE_WORKER, container, objects, pod

APP = '[app]\ntarget = "shop:app"\n'


def environment(describe: Describe, toml: str) -> dict[str, object]:
    only = container(objects(describe(toml)), "shop")
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in only["env"]}


def test_secrets_are_references_and_optional_when_the_file_has_a_default(describe: Describe) -> None:
    jwt = '[plugins.jwt]\nsecret = "${JWT_SECRET}"\n[plugins.pool]\nurl = "${DATABASE_URL:-}"\n'
    found = environment(describe, f"{APP}{jwt.replace(':-}', ':-sqlite:///shop.db}')}")
    assert found["JWT_SECRET"] == {"secretKeyRef": {"name": "shop", "key": "JWT_SECRET"}}
    assert found["DATABASE_URL"] == "sqlite:////data/shop.db", "a file in the volume of the pod"


def test_other_variables_are_in_a_config_map_that_names_those_without_a_default(describe: Describe) -> None:
    toml = f'{APP}[plugins.logging]\nlevel = "${{LOG_LEVEL:-info}}"\nservice = "${{NAME}}"\n'
    found = objects(describe(toml))
    assert found["ConfigMap/shop-environment"]["data"] == {"LOG_LEVEL": "info", "NAME": ""}
    assert container(found, "shop")["envFrom"] == [{"configMapRef": {"name": "shop-environment", "optional": True}}]
    text = KUBERNETES.generate(describe(toml), {})["environment.yaml"]
    assert "# Set a value of NAME: the service does not start without it." in text
    assert "# After a change of a value: kubectl -n default rollout restart deployment shop" in text


def test_fields_of_the_pod_come_from_the_downward_api(describe: Describe) -> None:
    found = environment(describe, QUEUE_WORKER)
    assert found["POD_ZONE"] == {"fieldRef": {"fieldPath": "metadata.labels['topology.kubernetes.io/zone']"}}


def test_the_port_is_that_of_the_pod_and_not_of_the_environment(describe: Describe) -> None:
    toml = f'{APP}[server]\nport = "${{PORT:-8123}}"\n'
    assert environment(describe, toml)["PORT"] == "8123"
    assert "ConfigMap/shop-environment" not in objects(describe(toml))


def test_services_of_the_namespace_set_no_variables(describe: Describe) -> None:
    assert pod(objects(describe(APP)), "shop")["enableServiceLinks"] is False


@pytest.mark.parametrize("file", ["scalekit.toml", "deploy/eu/scalekit.toml"])
def test_files_that_extend_others_keep_their_places(file: str, tmp_path: Path) -> None:
    (tmp_path / "app" / file).parent.mkdir(parents=True)
    (tmp_path / "app" / file).write_text(f'extends = "../base.toml"\n{APP}')
    (tmp_path / "app" / file).parent.parent.joinpath("base.toml").write_text('extends = "root.toml"\n')
    (tmp_path / "app" / file).parent.parent.joinpath("root.toml").write_text("")
    found = objects(describe_service(file, (), "scalekit deploy", tmp_path / "app"))
    (volume,) = [each for each in pod(found, "shop")["volumes"] if each["name"] == "config"]
    paths = [Path("/etc/scalekit") / each["path"] for each in volume["configMap"]["items"]]
    (variable,) = [each for each in container(found, "shop")["env"] if each["name"] == "SCALEKIT_CONFIG"]
    assert str(paths[0]) == variable["value"]
    assert paths[1] == paths[0].parent.parent / "base.toml"
    assert paths[2] == paths[0].parent.parent / "root.toml"
    assert all(".." not in each.parts for each in paths)


def test_a_file_that_is_extended_by_an_absolute_path_is_refused(describe: Describe, tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("")
    with pytest.raises(ConfigError, match=r"extends: '/.*/base\.toml' is an absolute path, at which pods have no file"):
        objects(describe(f'extends = "{tmp_path}/base.toml"\n{APP}'))


def test_a_secret_in_the_file_is_refused(describe: Describe) -> None:
    with pytest.raises(ConfigError, match="the secret is in the file"):
        objects(describe(f'{APP}[plugins.jwt]\nsecret = "0123456789abcdef0123456789abcdef"\n'))


def test_a_change_of_the_file_replaces_the_pods(describe: Describe) -> None:
    def checksum(toml: str) -> str:
        template = objects(describe(toml))["Deployment/shop"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum(APP) == checksum(APP) != checksum(f"{APP}[health]\n")
