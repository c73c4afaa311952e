"""The generated manifests are valid, and fit together."""

from __future__ import annotations

import copy
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from scalekit.deploy.kind import installed_kinds, load_kind
from scalekit.deploy.kubernetes.helm import HELM
from scalekit.deploy.kubernetes.manifests import ADAPTER, KUBERNETES
from scalekit_metrics.metrics import IN_FLIGHT as METRIC
from tests.command_line import scalekit
from tests.host.deploy.conftest import Describe
from tests.host.deploy.kubernetes.documents import (
    QUEUE_WORKER,
    SAMPLES,
    VERSIONS,
    Object,
    generate,
    objects,
    pod,
    sample,
    validate,
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SAMPLES)
def test_every_object_of_the_sample_is_valid(name: str, version: str) -> None:
    found = objects(sample(name), host="shop.example", pod_monitor=True)
    assert len(found) >= 8
    for each in found.values():
        validate(each, version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("workers", [(), ("server.workers=4",)], ids=["one process", "workers"])
def test_every_object_of_web_and_worker_processes_is_valid(
    describe: Describe, version: str, workers: tuple[str, ...]
) -> None:
    found = objects(describe(QUEUE_WORKER, *workers), pod_monitor=True)
    assert {"Deployment/shop", "Deployment/shop-worker", "Role/shop-discovery"} <= set(found)
    for each in found.values():
        validate(each, version)


def test_the_validator_refuses_a_misspelled_field(describe: Describe) -> None:
    broken = copy.deepcopy(dict(objects(describe(QUEUE_WORKER))["Deployment/shop"]))
    broken["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(broken, VERSIONS[0])


@pytest.mark.parametrize("name", SAMPLES)
def test_references_between_objects_lead_to_objects(name: str) -> None:
    found = objects(sample(name), host="shop.example", pod_monitor=True)
    for key, deployment in found.items():
        if not key.startswith("Deployment/"):
            continue
        spec = pod(found, key.removeprefix("Deployment/"))
        assert f"ServiceAccount/{spec['serviceAccountName']}" in found
        for volume in spec["volumes"]:
            if "configMap" in volume:
                config = found[f"ConfigMap/{volume['configMap']['name']}"]
                assert {each["key"] for each in volume["configMap"]["items"]} == set(config["data"])
            if "persistentVolumeClaim" in volume:
                assert f"PersistentVolumeClaim/{volume['persistentVolumeClaim']['claimName']}" in found
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels
    _check_network(found)


def _check_network(found: dict[str, Object] | object) -> None:
    assert isinstance(found, dict)
    (service,) = [each for key, each in found.items() if key.startswith("Service/")]
    (name,) = [each["metadata"]["name"] for key, each in found.items() if key.startswith("Deployment/")]
    (only,) = pod(found, name)["containers"]
    ports = {each["name"] for each in only["ports"]}
    assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports
    assert {each["httpGet"]["port"] for key, each in only.items() if key.endswith("Probe")} == {"management"} <= ports
    (ingress,) = [each for key, each in found.items() if key.startswith("Ingress/")]
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    backend = path["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] in {each["name"] for each in service["spec"]["ports"]}


def test_the_kustomization_lists_every_object_and_nothing_else() -> None:
    files = generate(sample("production.toml"), pod_monitor=True)
    (kustomization,) = files["kustomization.yaml"]
    assert set(kustomization["resources"]) == set(files) - {"kustomization.yaml", ADAPTER}


def test_no_secret_is_in_a_manifest_and_the_kustomization_says_which_are_needed() -> None:
    files = KUBERNETES.generate(sample("production.toml"), {})
    assert (
        "# Before the first `kubectl apply -k .` create the Secret sample-app with AMQP_URL, DATABASE_URL, JWT"
        in (files["kustomization.yaml"])
    )
    assert "placeholder" not in "".join(files.values())
    assert not any(each["kind"] == "Secret" for each in objects(sample("production.toml")).values())


def test_the_autoscaler_uses_cpu_and_the_requests_in_flight_of_the_metrics() -> None:
    files = generate(sample("production.toml"))
    (autoscaler,) = files["horizontalpodautoscaler.yaml"]
    cpu, in_flight = autoscaler["spec"]["metrics"]
    assert cpu["resource"]["name"] == "cpu"
    assert in_flight["pods"]["metric"]["name"] == METRIC.name
    assert in_flight["pods"]["target"]["averageValue"] == "40", "for two workers"
    ((rule,),) = [each["rules"]["custom"] for each in files[ADAPTER]]
    assert rule["name"]["as"] == METRIC.name
    assert rule["seriesQuery"].startswith(METRIC.name)


def test_without_metrics_the_autoscaler_uses_cpu_only(describe: Describe) -> None:
    files = generate(describe('[app]\ntarget = "shop:app"\n'), pod_monitor=True)
    (autoscaler,) = files["horizontalpodautoscaler.yaml"]
    assert [each["type"] for each in autoscaler["spec"]["metrics"]] == ["Resource"]
    assert not {ADAPTER, "podmonitor.yaml"} & set(files)


def test_health_and_metrics_are_open_to_the_namespace_of_the_monitoring_only(describe: Describe) -> None:
    found = objects(describe('[app]\ntarget = "shop:app"\n'), monitoring_namespace="observability")
    public, management = found["NetworkPolicy/shop"]["spec"]["ingress"]
    assert public == {"ports": [{"port": "http"}]}
    assert management["ports"] == [{"port": "management"}]
    (source,) = management["from"]
    assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "observability"}


def test_only_a_service_that_reads_endpoint_slices_has_a_token_and_a_role(describe: Describe) -> None:
    found = objects(describe(QUEUE_WORKER), namespace="shops")
    assert pod(found, "shop")["automountServiceAccountToken"] is True
    assert found["Role/shop-discovery"]["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    ]
    (subject,) = found["RoleBinding/shop-discovery"]["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "shop", "namespace": "shops"}
    plain = objects(describe('[app]\ntarget = "shop:app"\n'))
    assert pod(plain, "shop")["automountServiceAccountToken"] is False
    assert not [key for key in plain if key.startswith("Role")]


def test_manifests_and_chart_are_kinds_of_the_command() -> None:
    kinds = installed_kinds()
    assert load_kind(kinds["kubernetes"]) is KUBERNETES
    assert load_kind(kinds["helm"]) is HELM


def test_the_command_writes_the_manifests_with_its_options(tmp_path: Path) -> None:
    (tmp_path / "scalekit.toml").write_text('[app]\ntarget = "shop:app"\n')
    options = (
        "--image",
        "shop:1",
        "--namespace",
        "shops",
        "--workers",
        "3",
        "--host",
        "shop.example",
        "--replicas",
        "4",
    )
    result = scalekit("deploy", "kubernetes", "--output", "out", *options, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    (deployment,) = yaml.safe_load_all((tmp_path / "out" / "web.yaml").read_text())
    assert deployment["metadata"]["namespace"] == "shops"
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    assert only["image"] == "shop:1"
    assert "server.workers=3" in only["args"]
    (autoscaler,) = yaml.safe_load_all((tmp_path / "out" / "horizontalpodautoscaler.yaml").read_text())
    assert autoscaler["spec"]["minReplicas"] == 4
    assert (tmp_path / "out" / "ingress.yaml").exists()


def test_the_output_is_the_same_each_time() -> None:
    first, second = (KUBERNETES.generate(sample("production.toml"), {}) for _ in range(2))
    assert first == second
    assert list(yaml.safe_load_all(first["web.yaml"]))
