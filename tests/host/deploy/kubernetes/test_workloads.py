"""Deployments: replicas, updates, worker processes and files in volumes."""

from __future__ import annotations

import pytest

from scalekit.errors import ConfigError
from tests.host.deploy.conftest import Describe
from tests.host.deploy.kubernetes.documents import QUEUE_WORKER, container, generate, objects, sample

APP = '[app]\ntarget = "shop:app"\n'


def test_an_update_starts_a_pod_before_it_stops_one(describe: Describe) -> None:
    found = objects(describe(APP), replicas=3, max_replicas=5)
    spec = found["Deployment/shop"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert "replicas" not in spec, "the autoscaler's, which an update would reset"
    autoscaler = found["HorizontalPodAutoscaler/shop"]["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (3, 5)
    assert found["PodDisruptionBudget/shop"]["spec"]["maxUnavailable"] == 1


def test_consumers_have_a_deployment_without_a_public_port(describe: Describe) -> None:
    found = objects(describe(QUEUE_WORKER))
    worker = container(found, "shop-worker")
    assert worker["args"][-2:] == ["--set", "server.role=worker"]
    assert [each["name"] for each in worker["ports"]] == ["management"]
    assert found["Deployment/shop-worker"]["spec"]["replicas"] == 1
    labels = found["Deployment/shop-worker"]["spec"]["selector"]["matchLabels"]
    assert found["Service/shop"]["spec"]["selector"].items() - labels.items(), "no request reaches a worker"
    assert found["PodDisruptionBudget/shop-worker"]["spec"]["selector"]["matchLabels"] == labels


def test_a_file_of_the_role_worker_has_no_service_and_no_autoscaler(describe: Describe) -> None:
    found = objects(describe(f'{QUEUE_WORKER}[server]\nrole = "worker"\n'), replicas=3)
    assert not {"Service/shop", "HorizontalPodAutoscaler/shop", "Deployment/shop-worker"} & set(found)
    assert found["Deployment/shop"]["spec"]["replicas"] == 3
    assert [each["name"] for each in container(found, "shop")["ports"]] == ["management"]


def test_files_of_the_service_are_in_a_volume_of_one_pod() -> None:
    files = generate(sample("scalekit.toml"))
    (deployment,) = files["web.yaml"]
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    (claim,) = files["persistentvolumeclaim.yaml"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert not {"horizontalpodautoscaler.yaml", "poddisruptionbudget.yaml"} & set(files)
    mounts = deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "data", "mountPath": "/data", "subPath": "data"} in mounts


def test_a_file_that_web_and_worker_would_share_is_refused_with_the_remedy(describe: Describe) -> None:
    toml = QUEUE_WORKER.replace("${AMQP_URL}", "sqlite:///queue.db")
    with pytest.raises(ConfigError, match=r"queue\.db is a file that the pods .* write the URL of a server"):
        objects(describe(toml))


def test_names_of_objects_begin_with_a_letter(describe: Describe) -> None:
    found = objects(describe('[app]\nname = "2.shops"\n'))
    assert {"Service/app-2-shops", "Deployment/app-2-shops"} <= set(found)
