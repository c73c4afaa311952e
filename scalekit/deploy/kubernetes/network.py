"""How traffic reaches the pods: Service, Ingress, NetworkPolicy and PodMonitor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalekit.deploy.kubernetes.pod import public_port_name
from scalekit.deploy.kubernetes.values import ManifestValues
from scalekit.deploy.service import ServiceDescription

SCRAPE_INTERVAL = "15s"


def public_port(service: ServiceDescription) -> int:
    """Return the port of the Service."""
    return 443 if service.server.tls is not None else 80


def cluster_service(values: ManifestValues, service: ServiceDescription) -> Mapping[str, Any]:
    """Return the Service with the public port of the ready pods."""
    name = public_port_name(service)
    port = {"name": name, "port": public_port(service), "targetPort": name, "appProtocol": name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": values.metadata("web"),
        "spec": {"type": "ClusterIP", "selector": values.selector("web"), "ports": [port]},
    }


def ingress(values: ManifestValues, service: ServiceDescription) -> Mapping[str, Any]:
    """Return the Ingress of the host name, with TLS from a Secret of its own."""
    backend = {"service": {"name": values.name, "port": {"name": public_port_name(service)}}}
    rule = {"host": values.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    class_name = {"ingressClassName": values.ingress_class} if values.ingress_class is not None else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": values.metadata("web", annotations=values.ingress_annotations),
        "spec": {
            **class_name,
            "tls": [{"hosts": [values.host], "secretName": values.named("ingress-tls")}],
            "rules": [rule],
        },
    }


def network_policy(values: ManifestValues, service: ServiceDescription) -> Mapping[str, Any]:
    """Return the policy that lets only the namespace of the monitoring reach health, metrics and operator pages.

    The kubelet of the pod's node, which probes them, always may.
    """
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": values.monitoring_namespace}}}
    rules: list[Mapping[str, Any]] = [{"from": [monitoring], "ports": [{"port": "management"}]}]
    if service.server.role == "web":
        rules.insert(0, {"ports": [{"port": public_port_name(service)}]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": values.metadata("web"),
        "spec": {"podSelector": {"matchLabels": values.service_selector}, "policyTypes": ["Ingress"], "ingress": rules},
    }


def pod_monitor(values: ManifestValues, service: ServiceDescription) -> Mapping[str, Any]:
    """Return the PodMonitor of the Prometheus Operator, for web and worker pods; their ports are in no Service."""
    endpoint = {"port": "management", "path": service.metrics_path, "interval": SCRAPE_INTERVAL}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": values.metadata("web"),
        "spec": {"selector": {"matchLabels": values.service_selector}, "podMetricsEndpoints": [endpoint]},
    }
