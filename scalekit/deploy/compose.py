"""``scalekit deploy compose``: the service and all its servers on one machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import click

from scalekit.deploy.compose_servers import COMPLETED, ServerContainer
from scalekit.deploy.compose_topology import ServerTopology
from scalekit.deploy.data_path import FOLDER
from scalekit.deploy.dockerfile import HEALTH_INTERVAL, HEALTH_TIMEOUT, probe_command, run_arguments
from scalekit.deploy.environment import EnvironmentVariable
from scalekit.deploy.kind import DeployKind, generated_header
from scalekit.deploy.service import ServiceDescription
from scalekit.deploy.yaml_writer import to_yaml

FILE = "compose.yaml"
EXAMPLE = ".env.example"
EXAMPLE_HEAD = """\
# Copy this file to .env, set every value, and keep .env out of the repository. Passwords become parts of URLs: make
# each by `openssl rand -hex 32`.
"""
ROLE_WORKER = "server.role=worker"


def generate_compose(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return compose.yaml, and the example of its file of secrets when it needs one."""
    topology = ServerTopology(service)
    name = f"{service.name}-app" if service.name in topology.containers else service.name
    services: dict[str, Any] = {name: _web(service, topology, int(options.get("instances", 1)))}
    if service.needs_worker_role and service.server.role == "web":
        services[f"{name}-worker"] = _worker(service, topology)
    if service.migrate_command:
        services = _after_migration(services, f"{name}-migration", _migration(service, topology))
    volumes: dict[str, Any] = {_data_volume(service, folder): {} for folder in service.data_folders}
    configs: dict[str, Any] = {}
    for server, container in topology.containers.items():
        for part, each in ({server: container} | dict(container.parts)).items():
            services[part] = _server(part, each)
            volumes |= {f"{part}-data": {}} if each.volume else {}
        configs |= {key: {"content": _literal(text)} for key, text in container.configs.items()}
    document = {"name": service.name, "services": services, "volumes": volumes, "configs": configs}
    files = {FILE: generated_header(service) + to_yaml({key: value for key, value in document.items() if value})}
    variables = list(_variables_of_file(service, topology))
    return files | ({EXAMPLE: _example(service, variables)} if variables else {})


def _web(service: ServiceDescription, topology: ServerTopology, instances: int) -> dict[str, Any]:
    published = f"{service.port}-{service.port + instances - 1}" if instances > 1 else str(service.port)
    variable = service.variable_of("server.port")
    host_port = f"${{{variable}:-{published}}}" if variable and instances == 1 else published
    ports = {"ports": [f"{host_port}:{service.port}"]} if service.server.role == "web" else {}
    replicas = {"deploy": {"replicas": instances}} if instances > 1 else {}
    return {"build": ".", "image": service.name, **_process(service, topology), **ports, **replicas}


def _worker(service: ServiceDescription, topology: ServerTopology) -> dict[str, Any]:
    """Return the processes that consume messages and serve no requests."""
    process = _process(service, topology)
    process["command"] = [*process["command"], "--set", ROLE_WORKER]
    if service.management_port is None:
        process["healthcheck"] = {"disable": True}
    return {"build": ".", "image": service.name, **process}


def _migration(service: ServiceDescription, topology: ServerTopology) -> dict[str, Any]:
    """Return the container that applies migrations, and ends; their lock lets several wait for each other."""
    process = _process(service, topology)
    process["command"] = [*service.migrate_command, *process["command"][1:]]
    return {"build": ".", "image": service.name, **process, "healthcheck": {"disable": True}, "restart": "no"}


def _after_migration(
    services: Mapping[str, dict[str, Any]], name: str, migration: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return *services*, which start when the *migration* has succeeded, with it."""
    wait = {name: {"condition": COMPLETED}}
    waiting = {key: each | {"depends_on": each.get("depends_on", {}) | wait} for key, each in services.items()}
    return {**waiting, name: migration}


def _process(service: ServiceDescription, topology: ServerTopology) -> dict[str, Any]:
    command = [*run_arguments(service), *(word for each in topology.overrides for word in ("--set", each))]
    waits = {
        part: {"condition": each.condition}
        for name, container in topology.containers.items()
        for part, each in ({name: container} | dict(container.parts)).items()
    }
    volumes = [*(f"{_data_volume(service, each)}:{each}" for each in service.data_folders), *_tls_files(service)]
    return {
        "command": list(map(_literal, command)),
        **({"environment": environment} if (environment := _environment(service, topology)) else {}),
        **({"depends_on": waits} if waits else {}),
        **({"healthcheck": check} if (check := _health_check(service)) else {}),
        **({"volumes": list(map(_literal, volumes))} if volumes else {}),
        "stop_grace_period": f"{service.grace_period}s",
        "restart": "unless-stopped",
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def _tls_files(service: ServiceDescription) -> Iterator[str]:
    """Yield the mounts of the certificate and its key, which are not in the image, at the paths of the file."""
    for path in service.tls_files:
        source = path if PurePosixPath(path).is_absolute() else f"./{PurePosixPath(path)}"
        yield f"{source}:{PurePosixPath('/srv', path)}:ro"


def _environment(service: ServiceDescription, topology: ServerTopology) -> Mapping[str, str]:
    """Return the variables that the file references, those of servers with the addresses of the containers."""
    addresses = topology.environment
    found = dict(addresses)
    for variable in service.variables:
        if "server.port" in variable.keys:
            found[variable.name] = str(service.port)
        elif variable.name not in {*addresses, *service.container_environment, *_replaced(service, topology)}:
            found[variable.name] = _reference(variable)
    if any("${" in each for each in topology.overrides):
        found |= {name: _required(name) for name in topology.secrets}
    return dict(sorted(found.items()))


def _replaced(service: ServiceDescription, topology: ServerTopology) -> set[str]:
    """Return the variables whose keys all have values of the command line."""
    keys = {each.partition("=")[0] for each in (*topology.overrides, *service.container_overrides)}
    return {each.name for each in service.variables if {key.partition("[")[0] for key in each.keys} <= keys}


def _reference(variable: EnvironmentVariable) -> str:
    if variable.default is None:
        return _required(variable.name)
    return f"${{{variable.name}:-{_literal(variable.default)}}}"


def _literal(text: str) -> str:
    """Return *text* as a value in which Compose replaces no variable."""
    return text.replace("$", "$$")


def _required(name: str) -> str:
    return f"${{{name}:?set it in .env}}"


def _server(name: str, container: ServerContainer) -> Mapping[str, Any]:
    definition = {"restart": "unless-stopped", **container.definition}
    environment = {
        key: _required(value[2:-1]) if value[2:-1] in container.secrets else value
        for key, value in definition.pop("environment", {}).items()
    }
    if environment:
        definition["environment"] = environment
    if container.volume:
        definition["volumes"] = [f"{name}-data:{container.volume}"]
    return definition


def _health_check(service: ServiceDescription) -> Mapping[str, Any]:
    command = probe_command(service)
    if not command:
        return {}
    return {
        "test": ["CMD", *map(_literal, command)],
        "interval": f"{HEALTH_INTERVAL}s",
        "timeout": f"{HEALTH_TIMEOUT}s",
        "retries": 3,
        "start_period": f"{service.start_period}s",
    }


def _data_volume(service: ServiceDescription, folder: str) -> str:
    """Return the volume of *folder*; each has its own, because names of files in two folders may be equal."""
    suffix = "" if folder == FOLDER else re.sub(r"[^a-z0-9]+", "-", folder.lower()).rstrip("-")
    return f"{service.name}-data{suffix}"


def _variables_of_file(service: ServiceDescription, topology: ServerTopology) -> Iterator[str]:
    """Yield the variables that the file ``.env`` must set."""
    environment = _environment(service, topology)
    required = [name for name, value in environment.items() if value == _required(name)]
    yield from dict.fromkeys([*topology.secrets, *required])


def _example(service: ServiceDescription, names: list[str]) -> str:
    return generated_header(service) + EXAMPLE_HEAD + "".join(f"{name}=\n" for name in names)


COMPOSE = DeployKind(
    "Write compose.yaml with the service and all its servers, and an example of .env.",
    generate_compose,
    [
        click.Option(
            ["--instances"],
            type=click.IntRange(1, 64),
            default=1,
            show_default=True,
            help="Containers of the service; each has a port of the machine, counted from that of the file.",
        )
    ],
)
