"""The description of a service from which deployment files are generated."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import quote

from scalekit.config.field_types import socket_path
from scalekit.config.table import Table
from scalekit.config.tables import App, Health, Server, split_address
from scalekit.deploy.data_path import DataPath
from scalekit.deploy.environment import EnvironmentVariable
from scalekit.errors import ConfigError, Problem
from scalekit.server_requirement import ServerRequirement

T = TypeVar("T", bound=Table)

ALL_INTERFACES = "0.0.0.0"  # every address of a container
STOP_MARGIN = 5
"""Seconds between the end of a graceful stop and the kill."""
MANAGEMENT_PORT = 9100
"""Port of the management address in a container where the file names a Unix socket."""
CACHE_FOLDER = "/tmp/cache"
"""Folder of a container for files that may be lost; the rest of its file system may be read-only."""
PUBLIC_PORT = 8000
"""Port of the public address in a container where the file names a free port."""
PATH_CHARACTERS = "/-._~"
"""Characters of URL paths that are not percent-encoded, beside letters and digits."""
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class RequiredServer:
    """A server that the service connects to.

    *variables* are those that the value of its key references; *variable* is the one that has the whole value, if any.
    """

    requirement: ServerRequirement
    variables: tuple[str, ...] = ()
    variable: str = ""

    @property
    def kind(self) -> str:
        """The kind, such as ``postgresql``."""
        return self.requirement.kind

    @property
    def key(self) -> str:
        """The key of the file that names the server."""
        return self.requirement.key


@dataclass(frozen=True, slots=True)
class Project:
    """How a project declares the dependencies of its application: pyproject.toml, requirements.txt, or not at all.

    *requirement_files* are requirements.txt and the files that it includes. The folder ``wheels`` has packages that are
    in no index.
    """

    has_dependencies: bool = False
    is_installable: bool = False
    requirement_files: tuple[str, ...] = ()
    has_wheels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDescription:
    """What a deployment needs to know about a service.

    *file* is the path of the configuration file as on the command line, and *files* the text of that file and of those
    that it extends, by path. *overrides* are the values of ``--set``. *command* is the command line that generates the
    files. *packages* are the requirements of the plugins for pip. *metrics_path* is empty without metrics. Some
    processes need ``[server] role = "worker"`` when *needs_worker_role*. *cache_paths* are keys and values of folders
    whose files may be lost, *migrate_command* the arguments of ``scalekit`` that apply migrations, empty without any.
    """

    name: str
    command: str
    file: str
    files: Mapping[str, str]
    overrides: tuple[str, ...] = ()
    app: App
    server: Server
    health: Health
    tables: Mapping[str, Table]
    variables: tuple[EnvironmentVariable, ...] = ()
    literal_secrets: tuple[str, ...] = ()
    servers: tuple[RequiredServer, ...] = ()
    packages: tuple[str, ...] = ()
    data_paths: tuple[DataPath, ...] = ()
    metrics_path: str = ""
    needs_worker_role: bool = False
    cache_paths: tuple[tuple[str, str], ...] = ()
    migrate_command: tuple[str, ...] = ()
    project: Project = Project()
    python: str = PYTHON

    def table(self, model: type[T]) -> T:
        """Return the table of type *model*, with its defaults when no enabled plugin has one."""
        return next((table for table in self.tables.values() if isinstance(table, model)), None) or model()

    def configuration(self) -> Mapping[str, str]:
        """Return the text of the configuration files by path; raises ConfigError when one contains a secret."""
        if self.literal_secrets:
            raise ConfigError([_literal_secret(key, self.file) for key in self.literal_secrets])
        return self.files

    @property
    def grace_period(self) -> int:
        """Seconds from SIGTERM until the service may be killed: drain, requests in flight, stop of the plugins."""
        server = self.server
        return math.ceil(server.drain_delay + server.graceful_timeout + server.stop_timeout) + STOP_MARGIN

    @property
    def start_period(self) -> int:
        """Seconds after which a service that is not ready has failed: plugins and application start one by one."""
        if self.server.workers:
            return math.ceil(self.server.worker_start_timeout)
        return math.ceil(self.server.start_timeout * (len(self.tables) + 1))

    @property
    def socket(self) -> str:
        """The path of the Unix socket of the public address; empty when it is a TCP port."""
        return socket_path(self.server.host)

    @property
    def port(self) -> int:
        """The port of the public address in a container."""
        return self.server.port or PUBLIC_PORT

    @property
    def management_port(self) -> int | None:
        """The port of the management address in a container, or None when the file has none."""
        address = self.server.management_address
        if address is None:
            return None
        return MANAGEMENT_PORT if socket_path(address) else split_address(address)[1]

    @property
    def health_port(self) -> int | None:
        """The port that serves health and operator pages in a container; None for a worker without such an address."""
        if self.management_port is not None or self.server.role == "worker":
            return self.management_port
        return self.port

    @property
    def health_scheme(self) -> str:
        """``https`` when health pages are on the public address and that has TLS, else ``http``."""
        return "https" if self.server.tls is not None and self.management_port is None else "http"

    @property
    def ready_path(self) -> str:
        """The path that responds with 200 while the service accepts requests, percent-encoded."""
        return quote(f"{self.health.path}/ready", safe=PATH_CHARACTERS)

    @property
    def live_path(self) -> str:
        """The path that responds with 200 while the process works, percent-encoded."""
        return quote(f"{self.health.path}/live", safe=PATH_CHARACTERS)

    @property
    def container_overrides(self) -> tuple[str, ...]:
        """The values of ``--set`` in a container: addresses that other containers reach, and paths in volumes."""
        found = [f"server.host={ALL_INTERFACES}"]
        found += [f"{each.key}={each.value}" for each in self.data_paths if each.is_relative and not each.variable]
        found += self.cache_overrides(CACHE_FOLDER)
        if self.port != self.server.port:
            found.append(f"server.port={self.port}")
        if self.management_port is not None:
            found.append(f"server.management_address={ALL_INTERFACES}:{self.management_port}")
        return (*self.overrides, *found)

    def cache_overrides(self, folder: str) -> tuple[str, ...]:
        """Return the values of ``--set`` that move files which may be lost into *folder*."""
        return tuple(f"{key}={folder}/{path.lstrip('/')}" for key, path in self.cache_paths)

    @property
    def container_environment(self) -> Mapping[str, str]:
        """The variables of a container with the paths of files in volumes; the environment may override them."""
        found = {each.variable: each.value for each in self.data_paths if each.is_relative and each.variable}
        return {"SCALEKIT_CONFIG": self.file, **found}

    @property
    def data_folders(self) -> tuple[str, ...]:
        """The folders of a container with files that outlive it."""
        return tuple(sorted({each.folder for each in self.data_paths}))

    @property
    def tls_files(self) -> tuple[str, ...]:
        """The paths of the public address's certificate, its key and its authorities, which are not in an image."""
        tls = self.server.tls
        paths = (tls.cert_file, tls.key_file, tls.client_ca_file) if tls is not None else ()
        return tuple(path for path in paths if path is not None)

    def variable_of(self, key: str) -> str:
        """Return the environment variable that the value of *key* references; empty when there is none."""
        return next((each.name for each in self.variables if key in each.keys), "")

    @property
    def file_name(self) -> str:
        """The name of the configuration file without its folder."""
        return PurePosixPath(self.file).name


def _literal_secret(key: str, file: str) -> Problem:
    message = 'the secret is in the file, from which it would get into generated files; write "${NAME}" in its place'
    return Problem(message, key, file)
