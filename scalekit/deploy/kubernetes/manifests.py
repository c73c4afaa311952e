"""``scalekit deploy kubernetes``: manifests for ``kubectl apply -k``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from scalekit.deploy.kind import DeployKind, generated_header
from scalekit.deploy.kubernetes.access import service_account
from scalekit.deploy.kubernetes.configuration import (
    config_map,
    file_texts,
    plain_variables,
    required_variables,
    secret_variables,
)
from scalekit.deploy.kubernetes.network import cluster_service, ingress, network_policy, pod_monitor
from scalekit.deploy.kubernetes.replicas import adapter_rules, autoscaler, disruption_budget
from scalekit.deploy.kubernetes.values import ManifestValues, constant_values
from scalekit.deploy.kubernetes.workloads import components, deployment, has_autoscaler, is_stateful, volume_claim
from scalekit.deploy.service import ServiceDescription
from scalekit.deploy.yaml_writer import Yaml, to_yaml

ADAPTER = "prometheus-adapter-values.yaml"
"""Values for the chart of prometheus-adapter; no object of a cluster."""
ENVIRONMENT = "environment.yaml"


def generate_kubernetes(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the manifests, one file for each subject, and the kustomization that lists them."""
    values = constant_values(service, options)
    documents: dict[str, list[Yaml]] = {
        "configmap.yaml": [config_map(values, "config", file_texts(service))],
        **objects(values, service),
    }
    if variables := plain_variables(service):
        documents[ENVIRONMENT] = [config_map(values, "environment", variables)]
    if options.get("host"):
        documents["ingress.yaml"] = [ingress(values, service)]
    if options.get("pod_monitor") and service.metrics_path:
        documents["podmonitor.yaml"] = [pod_monitor(values, service)]
    documents = dict(sorted(documents.items()))
    documents["kustomization.yaml"] = [_kustomization(values, list(documents))]
    if "horizontalpodautoscaler.yaml" in documents and service.metrics_path:
        documents[ADAPTER] = [adapter_rules()]
    return {name: _head(service, values, name) + to_yaml(*found) for name, found in documents.items()}


def objects(values: ManifestValues, service: ServiceDescription) -> dict[str, list[Yaml]]:
    """Return the objects that manifests and chart have in common by file."""
    found = dict(components(service))
    documents: dict[str, list[Yaml]] = {"serviceaccount.yaml": list(service_account(values, service))}
    for component, suffix in found.items():
        documents[f"{component}.yaml"] = [deployment(values, service, component, suffix)]
    documents["networkpolicy.yaml"] = [network_policy(values, service)]
    if "web" in found:
        documents["service.yaml"] = [cluster_service(values, service)]
    if is_stateful(service):
        documents["persistentvolumeclaim.yaml"] = [volume_claim(values)]
    else:
        documents["poddisruptionbudget.yaml"] = [disruption_budget(values, *each) for each in found.items()]
    if any(has_autoscaler(service, component) for component in found):
        documents["horizontalpodautoscaler.yaml"] = [autoscaler(values, service)]
    return documents


def _kustomization(values: ManifestValues, files: list[str]) -> Mapping[str, Any]:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": values.namespace,
        "resources": files,
    }


def _head(service: ServiceDescription, values: ManifestValues, name: str) -> str:
    notes = {
        "kustomization.yaml": _notes(service, values),
        ENVIRONMENT: _environment_notes(service, values),
        ADAPTER: ["The autoscaler gets requests in flight from prometheus-adapter with these values of its chart."],
        "persistentvolumeclaim.yaml": _volume_notes(service),
    }
    lines = "".join(f"# {line}\n" for line in notes.get(name, ()))
    return f"{generated_header(service)}{lines}"


def _notes(service: ServiceDescription, values: ManifestValues) -> Iterator[str]:
    secrets = [each.name for each in secret_variables(service)]
    if secrets:
        yield f"Before the first `kubectl apply -k .` create the Secret {values.secret} with {', '.join(secrets)}:"
        yield f"  kubectl -n {values.namespace} create secret generic {values.secret} --from-env-file=.env"
        yield f"After a change of it: kubectl -n {values.namespace} rollout restart deployment {values.name}"

    if service.server.tls is not None:
        yield tls_note(values, service)


def tls_note(values: ManifestValues, service: ServiceDescription) -> str:
    """Return which keys the Secret with the certificate must have."""
    tls = service.server.tls
    more = ", and ca.crt, the authorities of client certificates" if tls is not None and tls.client_ca_file else ""
    return f"The pods need the Secret {values.named('tls')} with tls.crt and tls.key{more}."


def _environment_notes(service: ServiceDescription, values: ManifestValues) -> Iterator[str]:
    if required := required_variables(service):
        yield f"Set a value of {', '.join(required)}: the service does not start without it."
    yield f"After a change of a value: kubectl -n {values.namespace} rollout restart deployment {values.name}"


def _volume_notes(service: ServiceDescription) -> Iterator[str]:
    paths = ", ".join(each.path for each in service.data_paths)
    yield f"{paths}: files in a volume that one pod mounts. The service has one replica and stops during an update;"
    yield "with servers in their place it scales and updates without a failed request."


OPTIONS = [
    click.Option(["--image"], help="Image of the containers; by default NAME:latest."),
    click.Option(["--namespace"], default="default", show_default=True, help="Namespace of the objects."),
    click.Option(["--replicas"], type=click.IntRange(1), default=2, show_default=True, help="Lowest number of pods."),
    click.Option(["--max-replicas"], type=click.IntRange(1), default=10, show_default=True, help="Highest number."),
    click.Option(["--host"], help="Host name of an Ingress."),
    click.Option(
        ["--monitoring-namespace"],
        default="monitoring",
        show_default=True,
        help="Namespace that may read health and metrics.",
    ),
    click.Option(["--pod-monitor"], is_flag=True, help="Add a PodMonitor of the Prometheus Operator."),
]
KUBERNETES = DeployKind("Write manifests for kubectl apply -k.", generate_kubernetes, OPTIONS)
