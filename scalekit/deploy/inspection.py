"""Describe the service of a configuration file, without importing or starting the application."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

from scalekit.config.deploy_mark import CACHE_PATH, METRICS_PATH, MIGRATIONS, WORKER_ROLE, marked_values
from scalekit.config.document import dotted
from scalekit.config.environment import references
from scalekit.deploy.data_path import data_paths
from scalekit.deploy.environment import environment_variables, literal_secrets, sole_variable
from scalekit.deploy.placeholders import load_with_placeholders
from scalekit.deploy.service import Project, RequiredServer, ServiceDescription
from scalekit.errors import ConfigError, Problem
from scalekit.plugins import installed
from scalekit.server_requirement import ServerRequirement
from scalekit.settings import Settings

HOST_PACKAGE = "scalekit-asgi"
FALLBACK_NAME = "app"
REQUIREMENTS = "requirements.txt"
INCLUDED = re.compile(r"^[ \t]*(?:-r|-c|--requirement|--constraint)[ \t=]*([^\s#]+)", re.MULTILINE)
"""An option of a file of requirements that includes another file."""


def describe_service(file: str, overrides: Sequence[str], command: str, folder: Path = Path()) -> ServiceDescription:
    """Return the description of the service of *file* with *overrides*; *folder* is that of the project.

    Raises ConfigError with every mistake of the file. Variables that the file references need not be set.
    """
    settings = load_with_placeholders(str(folder / file), overrides)
    secrets = literal_secrets(settings)
    _refuse_secret_overrides(settings, secrets)
    servers = settings.plugins.servers(settings.context())
    requirements = [each for group in servers.values() for each in group]
    return ServiceDescription(
        name=_service_name(settings),
        command=command,
        file=file,
        files=dict(_configuration_files(file, folder)),
        overrides=tuple(overrides),
        app=settings.app,
        server=settings.server,
        health=settings.health,
        tables=settings.tables,
        variables=environment_variables(settings),
        literal_secrets=tuple(map(dotted, secrets)),
        servers=tuple(_required_server(settings, each) for each in requirements),
        packages=tuple(_packages(settings, requirements)),
        data_paths=data_paths(settings, servers),
        metrics_path=next((str(value) for value in _marked(settings, METRICS_PATH)), ""),
        needs_worker_role=any(_marked(settings, WORKER_ROLE)),
        cache_paths=tuple(_cache_paths(settings)),
        migrate_command=_migrate_command(settings, folder),
        project=_project(folder),
    )


def _refuse_secret_overrides(settings: Settings, secrets: Sequence[tuple[str | int, ...]]) -> None:
    """Raise ConfigError when a secret is in the command line, which generated files repeat."""
    message = "the secret of --set would get into generated files; write ${NAME} in its place"
    origins = {path: settings.document.origin(path).file for path in secrets}
    if found := [Problem(message, dotted(path), file) for path, file in origins.items() if file == "--set"]:
        raise ConfigError(found)


def _service_name(settings: Settings) -> str:
    """Return the name as a DNS label, which containers, units and Kubernetes objects accept (RFC 1123)."""
    named = settings.app.name or (settings.app.target or FALLBACK_NAME).partition(":")[0].partition(".")[0]
    return re.sub(r"[^a-z0-9]+", "-", named.lower()).strip("-")[:63].strip("-") or FALLBACK_NAME


def _configuration_files(file: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield path and text of *file* and of the files that it extends."""
    text = (folder / file).read_text(encoding="utf-8-sig")
    yield file, text
    base = tomllib.loads(text).get("extends")
    if isinstance(base, str):
        yield from _configuration_files((Path(file).parent / base).as_posix(), folder)


def _required_server(settings: Settings, requirement: ServerRequirement) -> RequiredServer:
    templates = {dotted(path): (path, text) for path, text in settings.document.templates.items()}
    if requirement.key not in templates:
        return RequiredServer(requirement)
    path, text = templates[requirement.key]
    return RequiredServer(requirement, tuple(name for name, _ in references(text)), sole_variable(settings, path))


def _packages(settings: Settings, requirements: Sequence[ServerRequirement]) -> Iterator[str]:
    """Yield the requirements for pip of the host and the enabled plugins, one for each distribution."""
    extras: dict[str, set[str]] = {HOST_PACKAGE: set()}
    available = installed() if settings.plugins.names else {}
    for name in settings.plugins.names:
        distribution = available[name][0].distribution
        if distribution:
            extras.setdefault(distribution, set()).update(_extras(distribution, name))
    for kind in {each.kind for each in requirements}:
        extras[HOST_PACKAGE].update(_extras(HOST_PACKAGE, kind))
    for distribution, names in sorted(extras.items()):
        public = version(distribution).partition("+")[0]  # a local version is in no index
        chosen = f"[{','.join(sorted(names))}]" if names else ""
        yield f"{distribution}{chosen}>={public}"


def _extras(distribution: str, name: str) -> Sequence[str]:
    """Return *name* when the *distribution* has an extra of it."""
    try:
        return [name] if name in (metadata(distribution).get_all("Provides-Extra") or ()) else []
    except PackageNotFoundError:
        return []


def _marked(settings: Settings, purpose: str) -> Iterator[object]:
    for table in settings.tables.values():
        yield from (value for _, value in marked_values(table, purpose))


def _cache_paths(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, table in settings.tables.items():
        for path, value in marked_values(table, CACHE_PATH, ("plugins", name)):
            if value:
                yield dotted(path), str(value)


def _migrate_command(settings: Settings, folder: Path) -> tuple[str, ...]:
    """Return the arguments of ``scalekit`` that apply the migrations of the project, empty when it has none."""
    for name, table in settings.tables.items():
        for _, value in marked_values(table, MIGRATIONS):
            if ":" in str(value) or (folder / str(value)).exists():
                return (name, "migrate")
    return ()


def _project(folder: Path) -> Project:
    """Return how the dependencies of the application in *folder* are declared."""
    try:
        declared = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        declared = {}
    return Project(
        has_dependencies="project" in declared,
        is_installable="build-system" in declared and "project" in declared,
        requirement_files=tuple(_requirement_files(folder)),
        has_wheels=any((folder / "wheels").glob("*.whl")),
    )


def _requirement_files(folder: Path) -> list[str]:
    """Return requirements.txt and the files below *folder* that it includes by ``-r`` and ``-c``."""
    found: list[str] = []
    waiting = [REQUIREMENTS]
    while waiting:
        file = posixpath.normpath(waiting.pop(0))
        if file in found or file.startswith(("..", "/")) or not (folder / file).is_file():
            continue
        found.append(file)
        text = (folder / file).read_text(encoding="utf-8-sig", errors="replace")
        waiting += [posixpath.join(posixpath.dirname(file), each) for each in INCLUDED.findall(text)]
    return found
