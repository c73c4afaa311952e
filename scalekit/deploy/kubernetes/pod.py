"""The pods of a service: container, probes, shutdown, volumes and privileges."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from scalekit.deploy.dockerfile import USER, run_arguments
from scalekit.deploy.kubernetes.configuration import FOLDER, configuration_volume, environment, literal
from scalekit.deploy.kubernetes.values import ManifestValues
from scalekit.deploy.service import ALL_INTERFACES, MANAGEMENT_PORT, ServiceDescription
from scalekit.errors import ConfigError, Problem
from scalekit.server_requirement import KUBERNETES

PROPAGATION = 5.0
"""Seconds until proxies and clients have removed an endpoint that ends."""
PROBE_PERIOD = 5
START_PERIOD = 2
LIVE_PERIOD = 10
"""Seconds between two probes of readiness, start and liveness."""
TEMPORARY = "256Mi"
"""Size of the folder of temporary files, such as large request bodies."""


def management_port(service: ServiceDescription) -> int:
    """Return the port of health and metrics in a pod, which is never the public one."""
    if service.management_port is not None:
        return service.management_port
    return MANAGEMENT_PORT + (service.port == MANAGEMENT_PORT)


def sleep_before_stop(service: ServiceDescription) -> int:
    """Return the seconds of the ``preStop`` hook: what ``drain_delay`` lacks until endpoints are removed."""
    return max(0, math.ceil(PROPAGATION - service.server.drain_delay))


def pod_template(values: ManifestValues, service: ServiceDescription, component: str) -> Mapping[str, Any]:
    """Return the template of the pods of *component*, ``web`` or ``worker``."""
    calls_api = any(each.kind == KUBERNETES for each in service.servers)
    init = {"initContainers": [_migration(values, service)]} if service.migrate_command else {}
    pull_secrets = {"imagePullSecrets": values.pull_secrets} if values.pull_secrets is not None else {}
    spec = {
        "serviceAccountName": values.name,
        "automountServiceAccountToken": calls_api,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": sleep_before_stop(service) + service.grace_period,
        **pull_secrets,
        "securityContext": _pod_security(service),
        **values.scheduling,
        "topologySpreadConstraints": [_spread(values, component, key) for key in ("zone", "hostname")],
        **init,
        "containers": [_container(values, service, component)],
        "volumes": list(_volumes(values, service)),
    }
    metadata = {"labels": values.selector(component), "annotations": _annotations(values, service)}
    return {"metadata": metadata, "spec": spec}


def _annotations(values: ManifestValues, service: ServiceDescription) -> Mapping[str, str]:
    found = {"checksum/config": values.checksum}
    if service.metrics_path:
        port = str(management_port(service))
        found |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": port,
            "prometheus.io/path": service.metrics_path,
        }
    return found


def _container(values: ManifestValues, service: ServiceDescription, component: str) -> Mapping[str, Any]:
    ports = [{"name": "management", "containerPort": management_port(service)}]
    if component == "web":
        ports.insert(0, {"name": public_port_name(service), "containerPort": service.port})
    stop = sleep_before_stop(service)
    return {
        "name": component,
        **_process(values, service),
        "args": _arguments(service, component),
        "ports": ports,
        **({"lifecycle": {"preStop": {"sleep": {"seconds": stop}}}} if stop else {}),
        "startupProbe": {
            **_probe(service.live_path, START_PERIOD),
            "failureThreshold": math.ceil(service.start_period / START_PERIOD),
        },
        "readinessProbe": {**_probe(service.ready_path, PROBE_PERIOD), "failureThreshold": 2},
        "livenessProbe": {**_probe(service.live_path, LIVE_PERIOD), "failureThreshold": 3},
    }


def _migration(values: ManifestValues, service: ServiceDescription) -> Mapping[str, Any]:
    """Return the container that applies migrations before the service starts, under their lock."""
    words = [*service.migrate_command, *_overrides(service.container_overrides)]
    return {"name": "migrate", **_process(values, service), "args": list(map(literal, words))}


def _process(values: ManifestValues, service: ServiceDescription) -> Mapping[str, Any]:
    sources = [{"configMapRef": {"name": values.named("environment"), "optional": True}}]
    return {
        "image": values.image,
        "imagePullPolicy": values.pull_policy,
        "env": environment(values, service),
        "envFrom": sources,
        "resources": values.resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": list(_mounts(service)),
    }


def _arguments(service: ServiceDescription, component: str) -> list[str]:
    added = []
    if service.management_port is None:
        added.append(f"server.management_address={ALL_INTERFACES}:{management_port(service)}")
    if component == "worker":
        added.append("server.role=worker")
    return [literal(word) for word in (*run_arguments(service), *_overrides(added))]


def _overrides(values: Any) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def _probe(path: str, period: int) -> Mapping[str, Any]:
    return {"httpGet": {"path": path, "port": "management"}, "periodSeconds": period, "timeoutSeconds": period}


def _pod_security(service: ServiceDescription) -> Mapping[str, Any]:
    # Each later start would open files of mode 0600, such as keys, to the group, and the service refuses such keys.
    policy = {"fsGroupChangePolicy": "OnRootMismatch"} if service.data_folders else {}
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        **policy,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _spread(values: ManifestValues, component: str, key: str) -> Mapping[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": f"topology.kubernetes.io/{key}" if key == "zone" else f"kubernetes.io/{key}",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": values.selector(component)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def _mounts(service: ServiceDescription) -> Iterator[Mapping[str, Any]]:
    yield {"name": "config", "mountPath": FOLDER, "readOnly": True}
    yield {"name": "tmp", "mountPath": "/tmp"}
    for folder in service.data_folders:
        yield {"name": "data", "mountPath": folder, "subPath": folder.strip("/").replace("/", "-")}
    if service.server.tls is not None:
        yield {"name": "tls", "mountPath": _tls_folder(service), "readOnly": True}


def _volumes(values: ManifestValues, service: ServiceDescription) -> Iterator[Mapping[str, Any]]:
    yield configuration_volume(values, service)
    yield {"name": "tmp", "emptyDir": {"sizeLimit": TEMPORARY}}
    if service.data_folders:
        yield {"name": "data", "persistentVolumeClaim": {"claimName": values.named("data")}}
    if (tls := service.server.tls) is not None:
        files = {"tls.crt": tls.cert_file, "tls.key": tls.key_file, "ca.crt": tls.client_ca_file}
        items = [{"key": key, "path": posixpath.basename(path)} for key, path in files.items() if path]
        yield {"name": "tls", "secret": {"secretName": values.named("tls"), "items": items}}


def _tls_folder(service: ServiceDescription) -> str:
    """Return the folder of the certificate; raise ConfigError when a Secret cannot be mounted there."""
    tls = service.server.tls
    if tls is None:
        return ""
    folder = posixpath.dirname(tls.cert_file)
    others = [path for path in (tls.key_file, tls.client_ca_file) if path]
    if not folder.startswith("/") or not tls.key_file or any(posixpath.dirname(path) != folder for path in others):
        message = "a Secret is mounted in their place: write absolute paths of files in one folder of their own"
        raise ConfigError([Problem(f"cert_file, key_file and client_ca_file: {message}", "server.tls", service.file)])
    return folder


def public_port_name(service: ServiceDescription) -> str:
    """Return the name of the public port, ``https`` with TLS."""
    return "https" if service.server.tls is not None else "http"
