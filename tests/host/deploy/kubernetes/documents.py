"""Objects of generated manifests, and services to generate them for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import yaml

from scalekit.deploy import ServiceDescription
from scalekit.deploy.kubernetes.manifests import ADAPTER, KUBERNETES
from tests.host.deploy.conftest import describe_sample

VERSIONS = ("1.30", "1.37")
"""The oldest version that the generated objects support, and the newest that the validator knows."""
CUSTOM = ("PodMonitor", "Kustomization")
"""Kinds that are not part of Kubernetes."""
SAMPLES = ("scalekit.toml", "production.toml", "one_database.toml", "inventory.toml")
QUEUE_WORKER = """\
[app]
target = "shop:app"
[plugins.metrics]
[plugins.queue]
url = "${AMQP_URL}"
consumers = "sample_app.events:consumers"
consume_in = "workers"
[plugins.discovery]
source = "kubernetes"
zone = "${POD_ZONE:-}"
"""

Object = Mapping[str, Any]


def generate(service: ServiceDescription, **options: Any) -> Mapping[str, list[Any]]:
    """Return the documents of each manifest by file."""
    files = KUBERNETES.generate(service, options)
    return {name: list(yaml.safe_load_all(text)) for name, text in files.items()}


def objects(service: ServiceDescription, **options: Any) -> Mapping[str, Object]:
    """Return all objects by kind and name."""
    documents = [each for name, found in generate(service, **options).items() if name != ADAPTER for each in found]
    return {f"{each['kind']}/{each.get('metadata', {}).get('name', '')}": each for each in documents}


def validate(found: Object, version: str) -> None:
    """Raise an error when *found* is not what the schema of Kubernetes *version* allows."""
    if found["kind"] not in CUSTOM:
        kubernetes_validate.validate(dict(found), version, strict=True)


def container(found: Mapping[str, Object], deployment: str) -> Any:
    """Return the container of a Deployment."""
    (only,) = pod(found, deployment)["containers"]
    return only


def pod(found: Mapping[str, Object], deployment: str) -> Any:
    """Return the specification of the pods of a Deployment."""
    return found[f"Deployment/{deployment}"]["spec"]["template"]["spec"]


def sample(name: str) -> ServiceDescription:
    """Return the description of a file of the sample application."""
    return describe_sample(name)
