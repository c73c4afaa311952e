"""``scalekit deploy systemd``: units of the service and of its sockets, which systemd opens."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Any

from scalekit.config.field_types import socket_path
from scalekit.config.tables import split_address
from scalekit.deploy.data_path import FOLDER
from scalekit.deploy.kind import DeployKind, generated_header
from scalekit.deploy.service import ServiceDescription
from scalekit.deploy.systemd_options import NOTIFY_RELOAD, UNIT_OPTIONS, UnitOptions
from scalekit.errors import ConfigError, Problem
from scalekit.terminal import printable

DESCRIPTORS = 65536
"""Open files of the service: each connection is one."""
MAX_USER = 31
"""Characters of the name of a user (systemd.exec(5), ``User=``)."""
SANDBOX = """\
# Of the file system only the folders of data can be written; systemd.exec(5) describes each line.
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
UMask=0077
# An application without a just-in-time compiler can have this, too:
# MemoryDenyWriteExecute=yes
"""


@dataclass(frozen=True, slots=True)
class UnitInstance:
    """One process group of the service: *unit* is the name of its units, *offset* is added to its ports."""

    service: ServiceDescription
    unit: str
    offset: int

    @property
    def sockets(self) -> Mapping[str, str]:
        """The address of each socket by the name of its unit."""
        server = self.service.server
        found = {}
        if server.role == "web":
            found[f"{self.unit}.socket"] = self._address(server.host, server.port, "server.host")
        if (second := server.management_address) is not None:
            host, port = (second, 0) if socket_path(second) else split_address(second)
            found[f"{self.unit}-management.socket"] = self._address(host, port, "server.management_address")
        return found

    @property
    def overrides(self) -> Iterator[str]:
        """The values of ``--set`` of this instance: paths of files, and ports that differ from those of the file."""
        yield from self.service.overrides
        for each in self.service.data_paths:
            if each.is_relative and not each.variable:
                yield f"{each.key}={each.value_in(state_folder(self.service))}"
        yield from self.service.cache_overrides(f"/var/cache/{self.service.name}")
        second = self.service.server.management_address
        if self.offset and second is not None:
            host, port = (second, 0) if socket_path(second) else split_address(second)
            yield f"server.management_address={self._address(host, port, 'server.management_address')}"

    def _address(self, host: str, port: int, key: str) -> str:
        if path := socket_path(host):
            base = PurePosixPath(path)
            return str(base.with_name(f"{base.stem}-{self.offset + 1}{base.suffix}")) if self.offset else path
        if not port:
            raise ConfigError([_problem("server.port", "a socket unit needs a fixed port; write one, such as 8000")])
        return f"{_bracketed(host, key)}:{port + self.offset}"


def generate_units(service: ServiceDescription, options: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the units, and the example of the file with the secrets."""
    chosen = UnitOptions.of(service, options)
    files: dict[str, str] = {}
    instances = [
        UnitInstance(service, service.name if chosen.instances == 1 else f"{service.name}-{number + 1}", number)
        for number in range(chosen.instances)
    ]
    for instance in instances:
        files[f"{instance.unit}.service"] = _service_unit(instance, chosen)
        files |= {name: _socket_unit(instance, name, address) for name, address in instance.sockets.items()}
    if _has_worker_unit(service):
        files[f"{service.name}-worker.service"] = _worker_unit(service, chosen)
    if chosen.instances > 1:
        files[f"{service.name}.target"] = _target_unit(service, files)
    if service.variables:
        files[f"{service.name}.env.example"] = _environment_example(service)
    return files


def state_folder(service: ServiceDescription) -> str:
    """Return the folder with the data of the service, which systemd creates and gives to its user."""
    return f"/var/lib/{service.name}"


def _service_unit(instance: UnitInstance, chosen: UnitOptions) -> str:
    service = instance.service
    sockets = " ".join(instance.sockets)
    unit = [f"Description={instance.unit}", "Wants=network-online.target", "After=network-online.target"]
    if chosen.instances > 1:
        unit.append(f"PartOf={service.name}.target")
    body = [
        *([f"Sockets={sockets}"] if sockets else []),
        *_process(service, chosen, tuple(instance.overrides)),
    ]
    return _text(service, unit, "Service", body) + f"\n[Install]\nWantedBy={_wanted_by(service, chosen)}\n"


def _worker_unit(service: ServiceDescription, chosen: UnitOptions) -> str:
    """Return the unit of the processes that consume messages; they have no socket."""
    instance = UnitInstance(service, f"{service.name}-worker", 0)
    unit = [f"Description={instance.unit}", "Wants=network-online.target", "After=network-online.target"]
    management = ["server.management_address=unix:" + f"/run/{instance.unit}/management.sock"]
    overrides = (*instance.overrides, "server.role=worker", *(management if service.management_port else []))
    body = [f"RuntimeDirectory={instance.unit}", *_process(service, chosen, overrides)]
    return _text(service, unit, "Service", body) + f"\n[Install]\nWantedBy={_wanted_by(service, chosen)}\n"


def _process(service: ServiceDescription, chosen: UnitOptions, overrides: tuple[str, ...]) -> Iterator[str]:
    words = [f"{chosen.directory}/.venv/bin/scalekit", "run", service.file]
    words += [word for override in overrides for word in ("--set", override)]
    yield from ["Type=notify-reload"] if chosen.version >= NOTIFY_RELOAD else ["Type=notify", RELOAD]
    yield "NotifyAccess=main"
    yield f"WorkingDirectory={chosen.directory}"
    # In commands, and not in other lines, $NAME is a variable.
    yield f"ExecStart={' '.join(_escape(word.replace('$', '$$')) for word in words)}"
    yield from [f"User={chosen.user}"] if chosen.user else _dynamic_user(service, chosen)
    yield f"StateDirectory={service.name}"
    if service.cache_paths:
        yield f"CacheDirectory={service.name}"
    if folders := [each for each in service.data_folders if each != FOLDER]:
        yield f"ReadWritePaths={' '.join(_escape(each) for each in folders)}"
    yield from _environment(service)
    yield "# The longest start of plugins or of a worker; the sum of drain_delay, graceful_timeout and stop_timeout."
    yield f"TimeoutStartSec={service.start_period + 30}s"
    yield f"TimeoutStopSec={service.grace_period}s"
    yield "KillMode=mixed"
    yield "WatchdogSec=30s"
    yield "Restart=on-failure"
    yield "RestartSec=1s"
    yield "# 78 is a mistake in the file: another start would find it again."
    yield "RestartPreventExitStatus=78"
    yield "# The supervisor replaces a worker that the kernel kills for its memory."
    yield "OOMPolicy=continue"
    yield f"LimitNOFILE={DESCRIPTORS}"
    yield SANDBOX.removesuffix("\n")


def _dynamic_user(service: ServiceDescription, chosen: UnitOptions) -> Iterator[str]:
    yield "DynamicUser=yes"
    if chosen.instances > 1 or _has_worker_unit(service):
        yield "# Units with one name have one user: each start gives the folders below to the user of its unit."
        name = f"_{service.name}" if service.name[0].isdigit() else service.name
        yield f"User={name[:MAX_USER].rstrip('-')}"


def _has_worker_unit(service: ServiceDescription) -> bool:
    return service.needs_worker_role and service.server.role == "web"


EXAMPLE_HEAD = "# Copy this file to /etc/{name}/environment with mode 0600, and set every value that has no default.\n"
RELOAD = "ExecReload=kill -HUP $MAINPID"


def _environment(service: ServiceDescription) -> Iterator[str]:
    for each in service.data_paths:
        if each.is_relative and each.variable:
            yield f"Environment={_escape(f'{each.variable}={each.value_in(state_folder(service))}')}"
    if service.variables:
        yield "# Read by systemd itself: the file needs no permission for the user of the service."
        yield f"EnvironmentFile=/etc/{service.name}/environment"


def _socket_unit(instance: UnitInstance, name: str, address: str) -> str:
    service = instance.service
    body = [f"ListenStream={address.replace('%', '%%')}", f"Backlog={service.server.backlog}"]
    if address.startswith("/"):
        body.append(f"SocketMode={service.server.socket_mode}")
    elif address.startswith("["):
        body.append("BindIPv6Only=ipv6-only")
    if name.endswith("-management.socket"):
        body += ["FileDescriptorName=management", f"Service={instance.unit}.service"]
    unit = [f"Description={name.removesuffix('.socket')} socket"]
    return _text(service, unit, "Socket", body) + "\n[Install]\nWantedBy=sockets.target\n"


def _target_unit(service: ServiceDescription, files: Mapping[str, str]) -> str:
    wanted = " ".join(name for name in files if name.endswith(".service"))
    return _text(service, [f"Description={service.name}", f"Wants={wanted}"], "Install", ["WantedBy=multi-user.target"])


def _wanted_by(service: ServiceDescription, chosen: UnitOptions) -> str:
    return "multi-user.target" if chosen.instances == 1 else f"{service.name}.target"


def _text(service: ServiceDescription, unit: list[str], section: str, body: list[str]) -> str:
    lines = ["[Unit]", *unit, "", f"[{section}]", *body]
    return generated_header(service) + "\n".join(lines) + "\n"


def _environment_example(service: ServiceDescription) -> str:
    texts = (f"{'' if each.is_required else '# '}{each.name}={each.default or ''}" for each in service.variables)
    lines = "".join(f"{printable(text)}\n" for text in texts)
    return generated_header(service) + EXAMPLE_HEAD.format(name=service.name) + lines


def _bracketed(host: str, key: str) -> str:
    """Return the IP address *host* as in a URL; raise ConfigError for a name, which systemd does not resolve."""
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        message = f"systemd opens no socket for the name {host!r}; write an address, such as 127.0.0.1"
        raise ConfigError([_problem(key, message)]) from None
    return f"[{address}]" if address.version == 6 else str(address)


def _problem(key: str, message: str) -> Problem:
    return Problem(message, key)


def _escape(word: str) -> str:
    """Return *word* as one word of a unit: ``%`` doubled, in quotes where needed (systemd.syntax(7))."""
    escaped = printable(word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%"))
    return f'"{escaped}"' if shlex.quote(word) != word else escaped


SYSTEMD = DeployKind("Write units of systemd for the service and its sockets.", generate_units, UNIT_OPTIONS)
