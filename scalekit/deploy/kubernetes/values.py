"""The values that differ between environments: constants in manifests, expressions in the templates of a chart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scalekit.deploy.service import ServiceDescription
from scalekit.deploy.yaml_writer import EnclosedText, VerbatimText, Yaml

MAX_NAME = 50
"""Characters of the name of objects, so that suffixes fit into a label of 63."""

CPU_UTILIZATION = 70
"""Per cent of the requested CPU at which replicas are added."""
REQUESTS_PER_WORKER = 20
"""Requests in flight in each worker at which replicas are added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestValues:
    """Names and numbers of the objects of one service; each is a constant or an expression of a template.

    *application* and *instance* are the values of the labels ``app.kubernetes.io/name`` and ``instance``. *namespace*
    is empty when the objects go into the namespace of the command that creates them; *subject_namespace* is that of the
    service account. A change of *checksum* replaces the pods.
    """

    application: str
    name: str
    instance: str
    namespace: str = ""
    subject_namespace: str
    image: Yaml
    pull_policy: Yaml = "IfNotPresent"
    pull_secrets: Yaml = None
    secret: str
    replicas: Yaml
    autoscaled_replicas: Yaml = None
    worker_replicas: Yaml
    min_replicas: Yaml
    max_replicas: Yaml
    cpu_utilization: Yaml
    requests_in_flight: Yaml
    resources: Yaml
    scheduling: Mapping[str, Yaml] = field(default_factory=dict)
    host: Yaml
    ingress_class: Yaml = None
    ingress_annotations: Yaml = None
    monitoring_namespace: Yaml
    volume_size: Yaml = "1Gi"
    storage_class: Yaml = None
    checksum: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def named(self, suffix: str) -> str:
        """Return the name of an object beside the main one."""
        return type(self.name)(f"{self.name}-{suffix}")

    def metadata(self, component: str, suffix: str = "", annotations: Yaml = None) -> Mapping[str, Any]:
        """Return the metadata of an object of *component*."""
        name = self.named(suffix) if suffix else self.name
        namespace = {"namespace": self.namespace} if self.namespace else {}
        labels = {"labels": {**self.selector(component), **self.labels}}
        return {"name": name, **namespace, **labels, **({} if annotations is None else {"annotations": annotations})}

    def selector(self, component: str) -> Mapping[str, str]:
        """Return the labels that select the pods of *component*."""
        return {**self.service_selector, "app.kubernetes.io/component": component}

    @property
    def service_selector(self) -> Mapping[str, str]:
        """The labels that select all pods of the service."""
        return {"app.kubernetes.io/name": self.application, "app.kubernetes.io/instance": self.instance}


def object_name(service: ServiceDescription) -> str:
    """Return the name of the objects of *service*: short enough for suffixes, and with a letter first (RFC 1035)."""
    name = service.name if service.name[0].isalpha() else f"app-{service.name}"
    return name[:MAX_NAME].rstrip("-")


def constant_values(service: ServiceDescription, options: Mapping[str, Any]) -> ManifestValues:
    """Return the values of ``scalekit deploy kubernetes`` with *options*."""
    name = object_name(service)
    return ManifestValues(
        application=name,
        name=name,
        instance=name,
        namespace=options.get("namespace", "default"),
        subject_namespace=options.get("namespace", "default"),
        image=options.get("image") or f"{name}:latest",
        secret=name,
        replicas=options.get("replicas", 2),
        worker_replicas=options.get("worker_replicas", 1),
        min_replicas=options.get("replicas", 2),
        max_replicas=max(options.get("max_replicas", 10), options.get("replicas", 2)),
        cpu_utilization=CPU_UTILIZATION,
        requests_in_flight=str(requests_in_flight(service)),
        resources=resources(service),
        host=options.get("host") or "",
        monitoring_namespace=options.get("monitoring_namespace", "monitoring"),
        checksum=checksum(service),
    )


def template_values(service: ServiceDescription) -> ManifestValues:
    """Return the expressions of the chart of *service*."""
    chart = object_name(service)
    return ManifestValues(
        application=chart,
        name=VerbatimText(f'{{{{ include "{chart}.fullname" . }}}}'),
        instance=expression(".Release.Name"),
        subject_namespace=expression(".Release.Namespace"),
        image=expression('printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion)'),
        pull_policy=expression(".Values.image.pullPolicy"),
        pull_secrets=VerbatimText("{{ toJson .Values.imagePullSecrets }}"),
        secret=VerbatimText(f'{{{{ .Values.existingSecret | default (include "{chart}.fullname" .) | quote }}}}'),
        replicas=number(".Values.replicas"),
        autoscaled_replicas=optional("not .Values.autoscaling.enabled", ".Values.replicas"),
        worker_replicas=number(".Values.worker.replicas"),
        min_replicas=number(".Values.autoscaling.minReplicas"),
        max_replicas=number(".Values.autoscaling.maxReplicas"),
        cpu_utilization=number(".Values.autoscaling.cpuUtilization"),
        requests_in_flight=expression(".Values.autoscaling.requestsInFlight"),
        resources=VerbatimText("{{ toJson .Values.resources }}"),
        scheduling={
            name: VerbatimText(f"{{{{ toJson .Values.{name} }}}}")
            for name in ("nodeSelector", "tolerations", "affinity")
        },
        host=expression(".Values.ingress.host"),
        ingress_class=optional(".Values.ingress.className", "toJson .Values.ingress.className"),
        ingress_annotations=VerbatimText("{{ toJson .Values.ingress.annotations }}"),
        monitoring_namespace=expression(".Values.networkPolicy.monitoringNamespace"),
        volume_size=expression(".Values.persistence.size"),
        storage_class=optional(
            'not (kindIs "invalid" .Values.persistence.storageClass)', "toJson .Values.persistence.storageClass"
        ),
        checksum=expression('include (print $.Template.BasePath "/configmap.yaml") . | sha256sum'),
        labels={
            "app.kubernetes.io/managed-by": expression(".Release.Service"),
            "helm.sh/chart": expression('printf "%s-%s" .Chart.Name .Chart.Version'),
        },
    )


def checksum(service: ServiceDescription) -> str:
    """Return a checksum of the configuration files."""
    text = "\0".join(f"{path}\0{text}" for path, text in sorted(service.configuration().items()))
    return hashlib.sha256(text.encode()).hexdigest()


def requests_in_flight(service: ServiceDescription) -> int:
    """Return the requests in flight of one pod at which replicas are added."""
    return REQUESTS_PER_WORKER * (service.server.workers or 1)


def resources(service: ServiceDescription) -> Mapping[str, Any]:
    """Return requests and limits for the workers of one pod; a limit of CPU would throttle them below their share."""
    workers = service.server.workers or 1
    memory = f"{256 * workers}Mi"
    return {"requests": {"cpu": f"{250 * workers}m", "memory": memory}, "limits": {"memory": f"{512 * workers}Mi"}}


def expression(text: str) -> VerbatimText:
    """Return a template's expression for a text, in quotes."""
    return VerbatimText(f"{{{{ {text} | quote }}}}")


def number(text: str) -> VerbatimText:
    """Return a template's expression for a number."""
    return VerbatimText(f"{{{{ {text} }}}}")


def optional(condition: str, text: str) -> EnclosedText:
    """Return a template's expression for a key that an object lacks without *condition*.

    A null in its place would be no omission: an upgrade by Helm deletes the value that the cluster has set meanwhile,
    such as the replicas of an autoscaler.
    """
    return EnclosedText(f"{{{{ {text} }}}}", f"{{{{- if {condition} }}}}", "{{- end }}")
