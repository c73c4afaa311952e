"""The workloads of a service: the Deployments of its web and worker processes, and their volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalekit.deploy.kubernetes.pod import pod_template
from scalekit.deploy.kubernetes.values import ManifestValues
from scalekit.deploy.service import ServiceDescription
from scalekit.errors import ConfigError, Problem

SCHEDULING = 300
"""Seconds for the scheduler, and for pulling the image, before a rollout is reported as failed."""


def is_stateful(service: ServiceDescription) -> bool:
    """Return whether the service writes files that outlive it, which one pod at a time can mount."""
    return bool(service.data_paths)


def components(service: ServiceDescription) -> Mapping[str, str]:
    """Return the suffix of the Deployment by component; raise ConfigError when they would share a volume."""
    if service.server.role == "worker":
        return {"worker": ""}
    if not service.needs_worker_role:
        return {"web": ""}
    if is_stateful(service):
        path = service.data_paths[0]
        message = (
            f"{path.path} is a file that the pods of web and worker processes cannot share; write the URL of a server"
        )
        raise ConfigError([Problem(message, path.key, service.file)])
    return {"web": "", "worker": "worker"}


def deployment(values: ManifestValues, service: ServiceDescription, component: str, suffix: str) -> Mapping[str, Any]:
    """Return the Deployment of *component*; its number of replicas is the autoscaler's when it has one."""
    spec: dict[str, Any] = {}
    if is_stateful(service):
        spec["replicas"] = 1
        spec["strategy"] = {"type": "Recreate"}
    else:
        spec |= _replicas(values, service, component, suffix)
        spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": values.metadata(component, suffix),
        "spec": {
            **spec,
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": service.start_period + service.grace_period + SCHEDULING,
            "selector": {"matchLabels": values.selector(component)},
            "template": pod_template(values, service, component),
        },
    }


def _replicas(values: ManifestValues, service: ServiceDescription, component: str, suffix: str) -> Mapping[str, Any]:
    if has_autoscaler(service, component):
        return {} if values.autoscaled_replicas is None else {"replicas": values.autoscaled_replicas}
    return {"replicas": values.worker_replicas if suffix else values.replicas}


def has_autoscaler(service: ServiceDescription, component: str) -> bool:
    """Return whether a HorizontalPodAutoscaler sets the replicas of *component*."""
    return component == "web" and not is_stateful(service)


def volume_claim(values: ManifestValues) -> Mapping[str, Any]:
    """Return the claim of the volume with the files that the service writes."""
    storage_class = {"storageClassName": values.storage_class} if values.storage_class is not None else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": values.metadata("web", "data"),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **storage_class,
            "resources": {"requests": {"storage": values.volume_size}},
        },
    }
