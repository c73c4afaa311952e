"""The chart passes Helm's linter, and its templates render to valid objects."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from scalekit.deploy import ServiceDescription
from scalekit.deploy.kubernetes.helm import HELM
from tests.host.deploy.conftest import Describe
from tests.host.deploy.kubernetes.documents import (
    QUEUE_WORKER,
    SAMPLES,
    VERSIONS,
    Object,
    container,
    objects,
    sample,
    validate,
)
from tests.servers import find

pytestmark = pytest.mark.needs("helm-charts")


def helm(command: str, chart: Path, values: Mapping[str, Any]) -> str:
    """Return the output of a command of Helm; fail with its message when it fails."""
    (chart / "values-of-test.yaml").write_text(yaml.safe_dump(dict(values)))
    words = [find("helm-charts"), command, str(chart), str(chart / "values-of-test.yaml")]
    result = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def write_chart(service: ServiceDescription, folder: Path, **options: Any) -> Path:
    files = HELM.generate(service, options)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / next(iter(files)).partition("/")[0]


def render(chart: Path, **values: Any) -> Mapping[str, Object]:
    """Return the rendered objects by kind and name."""
    documents = [each for each in yaml.safe_load_all(helm("template", chart, values)) if each]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in documents}


def has_null(value: object) -> bool:
    """Return whether *value* has a null, which Helm sends as the deletion of a key."""
    if isinstance(value, Mapping):
        return any(map(has_null, value.values()))
    return value is None or (isinstance(value, list) and any(map(has_null, value)))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_chart_of_the_sample_passes_the_linter_and_its_objects_are_valid(name: str, tmp_path: Path) -> None:
    chart = write_chart(sample(name), tmp_path)
    values = {"podMonitor": {"enabled": True}, "ingress": {"host": "shop.example"}}
    assert "[ERROR]" not in helm("lint", chart, values)
    found = render(chart, **values)
    assert len(found) >= 8
    for each in found.values():
        assert not has_null(each), "an upgrade would delete what the cluster has set, such as replicas"
        for version in VERSIONS:
            validate(each, version)


@pytest.mark.parametrize("server", ['role = "worker"', "workers = 4", 'host = "unix:/run/shop.sock"'])
def test_charts_of_other_processes_render_to_valid_objects(describe: Describe, server: str, tmp_path: Path) -> None:
    chart = write_chart(describe(f"{QUEUE_WORKER}[server]\n{server}\n"), tmp_path)
    helm("lint", chart, {})
    for each in render(chart).values():
        validate(each, VERSIONS[0])


def test_the_objects_are_those_of_the_manifests(describe: Describe, tmp_path: Path) -> None:
    service = describe(QUEUE_WORKER)
    rendered = render(write_chart(service, tmp_path))
    plain = objects(service)
    assert set(rendered) == set(plain) - {"Kustomization/"} | {"ConfigMap/shop-environment"}
    for name in ("shop", "shop-worker"):
        assert container(rendered, name) == container(plain, name)
    assert rendered["NetworkPolicy/shop"]["spec"] == plain["NetworkPolicy/shop"]["spec"]
    assert rendered["ConfigMap/shop-config"]["data"] == plain["ConfigMap/shop-config"]["data"]


def test_values_change_the_objects(describe: Describe, tmp_path: Path) -> None:
    chart = write_chart(describe(QUEUE_WORKER), tmp_path, image="registry.example:5000/shop:1.4")
    assert yaml.safe_load((chart / "values.yaml").read_text())["image"]["repository"] == "registry.example:5000/shop"
    found = render(
        chart,
        fullnameOverride="store",
        image={"tag": "1.5"},
        autoscaling={"enabled": False},
        replicas=7,
        worker={"replicas": 3},
        environment={"ANSWER": 42},
        resources={"requests": {"cpu": "2"}, "limits": {"memory": "1Gi"}},
        existingSecret="vault",
        nodeSelector={"disk": "fast"},
        networkPolicy={"enabled": False},
    )
    deployment = found["Deployment/store"]
    assert deployment["spec"]["replicas"] == 7
    assert found["Deployment/store-worker"]["spec"]["replicas"] == 3
    assert not {"HorizontalPodAutoscaler/store", "NetworkPolicy/store"} & set(found)
    only = container(found, "store")
    assert only["image"] == "registry.example:5000/shop:1.5"
    assert only["resources"] == {"requests": {"cpu": "2", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    (secret,) = [each for each in only["env"] if "secretKeyRef" in each.get("valueFrom", {})]
    assert secret["valueFrom"]["secretKeyRef"]["name"] == "vault"
    assert deployment["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "fast"}
    assert found["ConfigMap/store-environment"]["data"] == {"ANSWER": "42"}
    assert container(render(chart), "shop")["image"] == "registry.example:5000/shop:1.4", (
        "by default the tag of the chart"
    )


def test_an_upgrade_leaves_the_replicas_to_the_autoscaler_and_classes_to_the_cluster(
    describe: Describe, tmp_path: Path
) -> None:
    chart = write_chart(describe(QUEUE_WORKER), tmp_path)
    assert "replicas" not in render(chart)["Deployment/shop"]["spec"]
    assert "ingressClassName" not in render(chart, ingress={"host": "shop.example"})["Ingress/shop"]["spec"]
    named = render(chart, ingress={"host": "shop.example", "className": "nginx"})
    assert named["Ingress/shop"]["spec"]["ingressClassName"] == "nginx"
    stateful = write_chart(sample("scalekit.toml"), tmp_path)
    claim = f"PersistentVolumeClaim/{stateful.name}-data"
    assert "storageClassName" not in render(stateful, fullnameOverride=stateful.name)[claim]["spec"]
    named = render(stateful, fullnameOverride=stateful.name, persistence={"storageClass": ""})
    assert named[claim]["spec"]["storageClassName"] == "", "no class, which is not the default one"


def test_braces_in_the_configuration_are_no_template(describe: Describe, tmp_path: Path) -> None:
    toml = '[app]\ntarget = "shop:app"\n[plugins.logging]\nservice = "{{ .Values.x }} <&> \\"quoted\\""\n'
    found = render(write_chart(describe(toml), tmp_path))
    assert found["ConfigMap/shop-config"]["data"]["scalekit.toml"] == toml


def test_a_change_of_configuration_or_environment_replaces_the_pods(describe: Describe, tmp_path: Path) -> None:
    chart = write_chart(describe(QUEUE_WORKER), tmp_path)

    def checksum(**values: Any) -> str:
        template = render(chart, **values)["Deployment/shop"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    before = checksum()
    assert before == checksum() != checksum(environment={"A": "1"})
    (chart / "files" / "scalekit.toml").write_text(f"{QUEUE_WORKER}[health]\n")
    assert checksum() != before


def test_text_that_helm_would_take_for_an_action_stays(describe: Describe, tmp_path: Path) -> None:
    text = '{{ fail "é \\" }}'
    service = describe(f"{QUEUE_WORKER}[plugins.logging]\n", f"plugins.logging.service={text}")
    found = render(write_chart(service, tmp_path))
    (only,) = [each for name, each in found.items() if name.startswith("Deployment/") and "worker" not in name]
    assert f"plugins.logging.service={text}" in only["spec"]["template"]["spec"]["containers"][0]["args"]
