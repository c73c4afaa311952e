"""``scalekit deploy dockerfile``: an image in two stages, without compilers and root."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from os.path import dirname, isabs, normpath
from typing import Any

import click

from scalekit.deploy.kind import DeployKind, generated_header
from scalekit.deploy.service import PYTHON, ServiceDescription
from scalekit.errors import ConfigError, Problem

USER = 10001
"""User and group of the service; as a number, so that Kubernetes can check that it is not root."""
HEALTH_INTERVAL = 10
HEALTH_TIMEOUT = 5
READ_DEPENDENCIES = (
    "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; "
    "print(*project.get('dependencies', []), sep='\\n')"
)
PIP = "pip install --no-cache-dir"
IGNORED = (
    ".*",
    "**/__pycache__",
    "**/*.py[cod]",
    "**/*.db",
    "**/*.db-*",
    "**/*.key",
    "**/.env*",
    "venv",
    "node_modules",
    "tests",
    "Dockerfile",
    "compose.yaml",
)
"""Files that the image does not need, or that may contain secrets."""


def generate_dockerfile(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return Dockerfile and .dockerignore."""
    _refuse_files_outside(service)
    base = f"python:{options.get('python') or service.python}-slim"
    lines = [*_build_stage(service, base), "", *_runtime_stage(service, base)]
    return {
        "Dockerfile": generated_header(service) + "\n".join(lines) + "\n",
        ".dockerignore": generated_header(service) + "\n".join(_ignored(service)) + "\n",
    }


def _refuse_files_outside(service: ServiceDescription) -> None:
    """Raise ConfigError for a configuration file that is not in the folder of the project, which the image contains."""
    message = "is outside of the folder of the project, and so not in the image; move it there"
    outside = [path for path in service.files if normpath(path).startswith(("..", "/"))]
    if outside:
        raise ConfigError([Problem(f"{path!r} {message}", "extends", service.file) for path in outside])


def _build_stage(service: ServiceDescription, base: str) -> Iterator[str]:
    project = service.project
    packages = " ".join(map(shlex.quote, service.packages))
    install = f"{PIP} --find-links wheels" if project.has_wheels else PIP
    yield f"FROM {base} AS build"
    yield 'ENV PATH="/opt/venv/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1'
    yield "WORKDIR /build"
    yield "RUN python -m venv /opt/venv"
    yield "# This layer is built again only when the dependencies change."
    if project.has_wheels:
        yield "COPY wheels wheels"
    if project.requirement_files:
        yield from _copy_to_their_folders(project.requirement_files)
        yield f"RUN {install} -r requirements.txt {packages}"
    elif project.has_dependencies:
        yield "COPY pyproject.toml ./"
        yield f'RUN python -c "{READ_DEPENDENCIES}" > dependencies.txt \\'
        yield f"    && {install} -r dependencies.txt {packages}"
    else:
        yield f"RUN {install} {packages}"
    if project.is_installable:
        yield "COPY . ."
        yield f"RUN {PIP} --no-deps ."


def _copy_to_their_folders(files: Sequence[str]) -> Iterator[str]:
    folders: dict[str, list[str]] = {}
    for file in files:
        folders.setdefault(f"./{dirname(file)}".rstrip("/") + "/", []).append(file)
    yield from (f"COPY {json.dumps([*each, folder])}" for folder, each in folders.items())


def _runtime_stage(service: ServiceDescription, base: str) -> Iterator[str]:
    variables = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", **service.container_environment}
    yield f"FROM {base}"
    yield 'ENV PATH="/opt/venv/bin:$PATH" \\'
    yield " \\\n".join(f"    {name}={_quoted(value)}" for name, value in variables.items())
    yield f"RUN groupadd --system --gid {USER} app && useradd --system --uid {USER} --gid app --no-create-home app"
    yield "WORKDIR /srv"
    yield "COPY --from=build /opt/venv /opt/venv"
    yield "COPY . ."
    if folders := service.data_folders:
        yield f"RUN install -d -o app -g app {shlex.join(folders)}"
        yield f"VOLUME {json.dumps(list(folders))}"
    yield f"USER {USER}:{USER}"
    if ports := _ports(service):
        yield f"EXPOSE {' '.join(map(str, ports))}"
    yield "# In exec form scalekit is the first process: it receives SIGTERM, drains, and reaps all processes"
    yield '# without an init. A share in [server.memory] limit, such as "80%", is one of the memory of the container.'
    yield "STOPSIGNAL SIGTERM"
    yield from _health_check(service)
    yield 'ENTRYPOINT ["scalekit"]'
    yield f"CMD {json.dumps(run_arguments(service))}"


def _quoted(text: str) -> str:
    """Return *text* in double quotes, in which Docker replaces ``$NAME`` and has no escapes of JSON."""
    return '"' + re.sub(r'(["$\\])', r"\\\1", text) + '"'


def run_arguments(service: ServiceDescription) -> list[str]:
    """Return the arguments of ``scalekit`` with which a container serves."""
    return ["run", *(word for override in service.container_overrides for word in ("--set", override))]


def probe_command(service: ServiceDescription) -> list[str]:
    """Return the command that succeeds while the container is ready; empty when it has no address of health pages."""
    if service.health_port is None:
        return []
    variable = "" if service.management_port is not None else service.variable_of("server.port")
    address, path = f"{service.health_scheme}://127.0.0.1", service.ready_path
    url = f"'{address}:{service.health_port}{path}'"
    if variable:
        template = f"{address}:%s{path.replace('%', '%%')}"
        url = f"'{template}' % (os.environ.get({variable!r}) or {service.health_port})"
    context = ", context=ssl._create_unverified_context()" if service.health_scheme == "https" else ""
    imports = ", ".join(["os"] * bool(variable) + ["ssl"] * bool(context) + ["urllib.request"])
    return ["python", "-c", f"import {imports}; urllib.request.urlopen({url}, timeout={HEALTH_TIMEOUT - 1}{context})"]


def _health_check(service: ServiceDescription) -> Iterator[str]:
    if command := probe_command(service):
        times = f"--interval={HEALTH_INTERVAL}s --timeout={HEALTH_TIMEOUT}s --start-period={service.start_period}s"
        yield f"HEALTHCHECK {times} \\"
        yield f"    CMD {json.dumps(command)}"


def _ports(service: ServiceDescription) -> list[int]:
    public = [service.port] if service.server.role == "web" else []
    return [*public, *([service.management_port] if service.management_port is not None else [])]


def _ignored(service: ServiceDescription) -> Iterator[str]:
    yield from IGNORED
    yield from (normpath(each.path) for each in service.data_paths if each.is_relative)
    yield from (normpath(path) for path in service.tls_files if not isabs(path))


DOCKERFILE = DeployKind(
    "Write a Dockerfile and its .dockerignore.",
    generate_dockerfile,
    [click.Option(["--python"], default=PYTHON, show_default=True, help="Version of Python in the image.")],
)
