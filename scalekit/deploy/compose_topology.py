"""Which containers of servers a service needs, and the values of its keys that name them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from scalekit.deploy.compose_servers import (
    CONTAINERS,
    SUPPORTED,
    ServerContainer,
    postgresql,
    postgresql_replica,
    redis,
)
from scalekit.deploy.service import RequiredServer, ServiceDescription
from scalekit.server_requirement import POSTGRESQL, REDIS

CACHE = "cache"
"""The purpose of servers whose data may be lost."""
_INDEX = re.compile(r"\[\d+\]$")


class ServerTopology:
    """The containers by name, one for each kind and replica, that *service* connects to."""

    def __init__(self, service: ServiceDescription) -> None:
        self._servers = [each for each in service.servers if each.kind in SUPPORTED]
        self.containers: dict[str, ServerContainer] = {}
        for name, server in self._named():
            if name not in self.containers:
                self.containers[name] = self._container(name, server)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of the service that name servers, with the addresses of the containers."""
        return {server.variable: self._value(name, server) for name, server in self._named() if server.variable}

    @property
    def overrides(self) -> Sequence[str]:
        """The values of ``--set`` for keys that no single variable defines; a key of a list has its whole value."""
        values: dict[str, list[str]] = {}
        for name, server in self._named():
            values.setdefault(_INDEX.sub("", server.key), []).append(self._value(name, server))
        fixed = {_INDEX.sub("", server.key) for server in self._servers if not server.variable}
        lists = {_INDEX.sub("", server.key) for server in self._servers if _INDEX.search(server.key)}
        return [
            f"{key}={json.dumps(list(dict.fromkeys(found))) if key in lists else found[0]}"
            for key, found in values.items()
            if key in fixed
        ]

    @property
    def secrets(self) -> Sequence[str]:
        """The variables with the passwords of the containers."""
        return sorted({secret for container in self.containers.values() for secret in container.secrets})

    def _named(self) -> Iterator[tuple[str, RequiredServer]]:
        """Yield each server with the name of its container, which is its host name."""
        replicas = [each for each in self._servers if each.requirement.replica]
        for server in self._servers:
            if not server.requirement.replica:
                yield server.kind, server
            else:
                number = f"-{replicas.index(server) + 1}" if len(replicas) > 1 else ""
                yield f"{server.kind}-replica{number}", server

    def _container(self, name: str, server: RequiredServer) -> ServerContainer:
        if server.requirement.replica:
            return postgresql_replica(name, server.kind)
        if server.kind == POSTGRESQL:
            return postgresql(name, any(each.requirement.replica for each in self._servers))
        if server.kind == REDIS:
            return redis(name, all(each.requirement.purpose == CACHE for each in self._servers if each.kind == REDIS))
        return CONTAINERS[server.kind](name)

    def _value(self, name: str, server: RequiredServer) -> str:
        container = self.containers[name]
        if not server.requirement.address:
            return container.address
        host, _, port = container.host_port.partition(":")
        return server.requirement.address.format(host=host, port=port)
