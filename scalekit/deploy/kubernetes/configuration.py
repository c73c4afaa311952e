"""Configuration of the pods: the file as a ConfigMap, and its environment variables."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scalekit.deploy.environment import EnvironmentVariable
from scalekit.deploy.kubernetes.values import ManifestValues
from scalekit.deploy.service import ServiceDescription
from scalekit.deploy.yaml_writer import Yaml
from scalekit.errors import ConfigError, Problem

FOLDER = "/etc/scalekit"
"""Folder of the pods with the configuration files."""
DOWNWARD = {
    "NODE_NAME": "spec.nodeName",
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "POD_IP": "status.podIP",
    "POD_ZONE": "metadata.labels['topology.kubernetes.io/zone']",
}
"""Variables that pods get from the downward API when the file references them; the zone since Kubernetes 1.35."""
PORT_KEYS = ("server.port", "server.host", "server.management_address")


def mounted_files(service: ServiceDescription) -> Mapping[str, str]:
    """Return the text of each configuration file by its path below FOLDER.

    Raises ConfigError for a literal secret, and for a file that another one extends by an absolute path.
    """
    if outside := [path for path in service.files if path.startswith("/") and path != service.file]:
        message = "is an absolute path, at which pods have no file; write a relative one"
        raise ConfigError([Problem(f"{path!r} {message}", "extends", service.file) for path in outside])
    files = {_normalize(path): text for path, text in service.configuration().items()}
    return {_below(path, _depth(files)): text for path, text in files.items()}


def configuration_path(service: ServiceDescription) -> str:
    """Return the path of the configuration file in a pod."""
    paths = [_normalize(path) for path in service.files]
    return posixpath.join(FOLDER, _below(_normalize(service.file), _depth(paths)))


def file_texts(service: ServiceDescription) -> Mapping[str, str]:
    """Return the text of each configuration file by its key in the ConfigMap."""
    return {_key(index): text for index, text in enumerate(mounted_files(service).values())}


def config_map(values: ManifestValues, suffix: str, data: Yaml) -> Mapping[str, Any]:
    """Return the ConfigMap *suffix* with *data*."""
    metadata = values.metadata("configuration", suffix)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def configuration_volume(values: ManifestValues, service: ServiceDescription) -> Mapping[str, Any]:
    """Return the volume that has each configuration file at its path."""
    items = [{"key": _key(index), "path": path} for index, path in enumerate(mounted_files(service))]
    return {"name": "config", "configMap": {"name": values.named("config"), "items": items}}


def plain_variables(service: ServiceDescription) -> Mapping[str, str]:
    """Return the variables of the file that are no secrets with their defaults, empty for those that need a value."""
    return {each.name: each.default or "" for each in _set_by_operators(service) if not each.is_secret}


def required_variables(service: ServiceDescription) -> list[str]:
    """Return the variables without a default that are no secrets."""
    return [each.name for each in _set_by_operators(service) if not each.is_secret and each.is_required]


def secret_variables(service: ServiceDescription) -> list[EnvironmentVariable]:
    """Return the variables of the file that are secrets."""
    return [each for each in _set_by_operators(service) if each.is_secret]


def environment(values: ManifestValues, service: ServiceDescription) -> list[Mapping[str, Any]]:
    """Return the variables of a container: constants, fields of the pod, and references to secrets."""
    return list(_environment(values, service))


def _environment(values: ManifestValues, service: ServiceDescription) -> Iterator[Mapping[str, Any]]:
    fixed = {**service.container_environment, "SCALEKIT_CONFIG": configuration_path(service)}
    yield from ({"name": name, "value": literal(value)} for name, value in sorted(fixed.items()))
    for variable in service.variables:
        if variable.name in DOWNWARD:
            field = {"fieldRef": {"fieldPath": DOWNWARD[variable.name]}}
            yield {"name": variable.name, "valueFrom": field}
        elif variable.name not in fixed and _is_port(variable):
            yield {"name": variable.name, "value": str(service.port)}
    for variable in secret_variables(service):
        optional = {} if variable.is_required else {"optional": True}
        reference = {"name": values.secret, "key": variable.name, **optional}
        yield {"name": variable.name, "valueFrom": {"secretKeyRef": reference}}


def literal(text: str) -> str:
    """Return *text* as an argument or value of a container, in which Kubernetes replaces ``$(NAME)`` and ``$$``."""
    return text.replace("$", "$$")


def _set_by_operators(service: ServiceDescription) -> Iterator[EnvironmentVariable]:
    fixed = {*service.container_environment, *DOWNWARD}
    return (each for each in service.variables if each.name not in fixed and not _is_port(each))


def _is_port(variable: EnvironmentVariable) -> bool:
    """Return whether the variable is the port or an address of the server, which the pod determines."""
    return bool(variable.keys) and all(key in PORT_KEYS for key in variable.keys)


def _key(index: int) -> str:
    return "scalekit.toml" if index == 0 else f"base-{index}.toml"


def _normalize(path: str) -> str:
    """Return *path* as a relative one, because it is below another folder in a pod."""
    return posixpath.normpath(path).lstrip("/")


def _depth(paths: Iterable[str]) -> int:
    """Return how many folders above that of the project the files are."""
    return max(path.split("/").count("..") for path in paths)


def _below(path: str, depth: int) -> str:
    return posixpath.normpath(posixpath.join(*["project"] * depth, path))
