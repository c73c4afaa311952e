"""``scalekit deploy helm``: a chart whose templates are the objects of ``scalekit deploy kubernetes``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from scalekit.deploy.kind import DeployKind, generated_header
from scalekit.deploy.kubernetes.configuration import (
    config_map,
    file_texts,
    plain_variables,
    required_variables,
    secret_variables,
)
from scalekit.deploy.kubernetes.manifests import ADAPTER, objects, tls_note
from scalekit.deploy.kubernetes.network import ingress, pod_monitor
from scalekit.deploy.kubernetes.replicas import adapter_rules
from scalekit.deploy.kubernetes.values import (
    CPU_UTILIZATION,
    ManifestValues,
    object_name,
    requests_in_flight,
    resources,
    template_values,
)
from scalekit.deploy.kubernetes.workloads import components, is_stateful
from scalekit.deploy.service import ServiceDescription
from scalekit.deploy.yaml_writer import VerbatimText, Yaml, to_yaml

SWITCHES = {
    "horizontalpodautoscaler.yaml": ".Values.autoscaling.enabled",
    "ingress.yaml": ".Values.ingress.host",
    "networkpolicy.yaml": ".Values.networkPolicy.enabled",
    "podmonitor.yaml": ".Values.podMonitor.enabled",
    "poddisruptionbudget.yaml": ".Values.podDisruptionBudget.enabled",
}
"""The value without which a template is empty."""
CHART_VERSION = "0.1.0"
HELPERS = """\
{{- define "CHART.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "CHART.environment" -}}
{{- $texts := dict -}}
{{- range $name, $value := .Values.environment -}}
{{- $_ := set $texts $name (toString $value) -}}
{{- end -}}
{{- toJson $texts -}}
{{- end }}
"""


def generate_helm(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the files of a chart with the name of the service."""
    chart = object_name(service)
    values = template_values(service)
    head = generated_header(service)
    documents = objects(values, service)
    if "service.yaml" in documents:
        documents["ingress.yaml"] = [ingress(values, service)]
    if service.metrics_path:
        documents["podmonitor.yaml"] = [pod_monitor(values, service)]
    files = {
        "Chart.yaml": head + to_yaml(_chart(service, options)),
        "values.yaml": head + _values_head(service) + to_yaml(_values(service, options)),
        ".helmignore": f"{ADAPTER}\n",
        "templates/_helpers.tpl": HELPERS.replace("CHART", chart),
        "templates/NOTES.txt": _notes(service, values),
        "templates/configmap.yaml": to_yaml(*_config_maps(values, service, chart)),
    }
    files |= {f"templates/{name}": _template(name, found) for name, found in sorted(documents.items())}
    files |= {f"files/{key}": text for key, text in file_texts(service).items()}
    if service.metrics_path:
        files[ADAPTER] = head + to_yaml(adapter_rules())
    return {f"{chart}/{name}": text for name, text in files.items()}


def _template(name: str, documents: list[Yaml]) -> str:
    text = to_yaml(*map(_without_actions, documents))
    return f"{{{{- if {SWITCHES[name]} }}}}\n{text}{{{{- end }}}}\n" if name in SWITCHES else text


def _without_actions(value: Yaml) -> Yaml:
    """Return *value* with its texts that Helm would take for actions as actions that write them."""
    if isinstance(value, str):
        has_action = "{{" in value and not isinstance(value, VerbatimText)
        # The strings of JSON are strings of Go.
        return VerbatimText(f"{{{{ {json.dumps(value, ensure_ascii=False)} | toJson }}}}") if has_action else value
    if isinstance(value, Mapping):
        return {key: _without_actions(each) for key, each in value.items()}
    return [_without_actions(each) for each in value] if isinstance(value, Sequence) else value


def _config_maps(values: ManifestValues, service: ServiceDescription, chart: str) -> list[Mapping[str, Any]]:
    """Return the ConfigMaps; their files are read from the chart, because TOML may contain a template's braces."""
    data = {key: VerbatimText(f'{{{{ .Files.Get "files/{key}" | toJson }}}}') for key in file_texts(service)}
    environment = VerbatimText(f'{{{{ include "{chart}.environment" . }}}}')
    return [config_map(values, "config", data), config_map(values, "environment", environment)]


def _chart(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, Any]:
    name = object_name(service)
    return {
        "apiVersion": "v2",
        "name": name,
        "description": f"The service {name} under ScaleKit.",
        "type": "application",
        "version": CHART_VERSION,
        "appVersion": _image(service, options)[1],
        "kubeVersion": ">=1.30.0-0",
    }


def _image(service: ServiceDescription, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return repository and tag of the image; a colon before the last slash belongs to the registry's port."""
    image = options.get("image") or object_name(service)
    repository, colon, tag = image.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (image, "latest")


def _values(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, Any]:
    image, _ = _image(service, options)
    found: dict[str, Any] = {
        "image": {"repository": image, "tag": "", "pullPolicy": "IfNotPresent"},
        "imagePullSecrets": [],
        "fullnameOverride": "",
        "existingSecret": "",
        "environment": plain_variables(service),
        "resources": resources(service),
        "networkPolicy": {"enabled": True, "monitoringNamespace": "monitoring"},
        "nodeSelector": {},
        "tolerations": [],
        "affinity": {},
    }
    if service.metrics_path:
        found["podMonitor"] = {"enabled": False}
    if "web" in components(service):
        found["ingress"] = {"host": "", "className": None, "annotations": {}}
    if is_stateful(service):
        return found | {"persistence": {"size": "1Gi", "storageClass": None}}
    return found | _scaling(service)


def _scaling(service: ServiceDescription) -> dict[str, Any]:
    found: dict[str, Any] = {"podDisruptionBudget": {"enabled": True}, "replicas": 2}
    if service.needs_worker_role:
        found["worker"] = {"replicas": 1}
    if service.server.role == "web":
        found["autoscaling"] = {
            "enabled": True,
            "minReplicas": 2,
            "maxReplicas": 10,
            "cpuUtilization": CPU_UTILIZATION,
            "requestsInFlight": requests_in_flight(service),
        }
    return found


def _values_head(service: ServiceDescription) -> str:
    required = ", ".join(required_variables(service))
    return f"# environment: set a value of {required}.\n" if required else ""


def _notes(service: ServiceDescription, values: ManifestValues) -> str:
    secrets = ", ".join(each.name for each in secret_variables(service))
    namespace = "{{ .Release.Namespace }}"
    lines = [f"kubectl -n {namespace} rollout status deployment {values.name}"]
    if secrets:
        secret = values.secret.replace(" | quote", "")
        lines += [
            f"The pods need the Secret {secret} with {secrets}:",
            f"  kubectl -n {namespace} create secret generic {secret} --from-env-file=.env",
        ]
    if service.server.tls is not None:
        lines.append(tls_note(values, service))
    return "\n".join(lines) + "\n"


HELM = DeployKind(
    "Write a Helm chart.", generate_helm, [click.Option(["--image"], help="Image and its tag; by default NAME:latest.")]
)
