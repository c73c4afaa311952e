"""Turn the EndpointSlices of one service into instances."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.sources import SourceError

MAX_INSTANCES = 5000
"""Instances of one service; more are ignored."""

_LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"({_LABEL})(?:\.({_LABEL}))?(?::([A-Za-z0-9-]{{1,63}}))?")
_ADDRESS = re.compile(r"[0-9A-Za-z._:-]+")
"""An IP address or a host name, which becomes a part of URLs."""

Slice = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServicePort:
    """The port of a service that is called; an empty *port* chooses it by the rule of :func:`_choose_port`."""

    service: str
    namespace: str
    port: str = ""

    @classmethod
    def parse(cls, name: str, namespace: str) -> ServicePort:
        """Parse ``NAME[.NAMESPACE][:PORT]``; raise SourceError when *name* is another text."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise SourceError(
                f"{name!r} is no service of Kubernetes; write NAME, NAME.NAMESPACE or NAME.NAMESPACE:PORT"
            )
        return cls(found[1], found[2] or namespace, found[3] or "")


class Location(NamedTuple):
    """The zone of this process, empty when it is unknown, and the address type that it prefers."""

    zone: str
    address_type: str


class _Endpoint(NamedTuple):
    """One endpoint of a slice, with the port and the address type of the slice."""

    data: Mapping[str, Any]
    port: int
    scheme: str
    address_type: str

    def has(self, condition: str, *, default: bool) -> bool:
        value = (self.data.get("conditions") or {}).get(condition)
        return default if value is None else bool(value)

    @property
    def is_ready(self) -> bool:
        return self.has("ready", default=True)

    @property
    def is_draining(self) -> bool:
        """Whether it ends and still responds."""
        return self.has("serving", default=self.is_ready) and self.has("terminating", default=False)

    @property
    def key(self) -> str:
        """What two entries of one pod have in common: those of both address families, or of two slices."""
        pod = self.data.get("targetRef") or {}
        return str(pod.get("uid") or pod.get("name") or self.data["addresses"][0])


def instances_of(slices: Iterable[Slice], target: ServicePort, location: Location) -> list[ServiceInstance]:
    """Return the instances of *target*, in one address family each.

    These are the ready endpoints. When none is ready, those that terminate and still serve are returned, as kube-proxy
    does. Raises SourceError when the port is ambiguous, and KeyError, TypeError, ValueError or AttributeError when
    *slices* are not EndpointSlices.
    """
    endpoints = [endpoint for each in slices for endpoint in _endpoints(each, target)]
    chosen = [each for each in endpoints if each.is_ready] or [each for each in endpoints if each.is_draining]
    by_pod: dict[str, _Endpoint] = {}
    for each in sorted(chosen, key=lambda each: each.address_type != location.address_type):
        by_pod.setdefault(each.key, each)
    selected = list(by_pod.values())[:MAX_INSTANCES]
    has_hints = all(_hinted_zones(each) for each in selected)
    return [_instance(each, location.zone, has_hints=has_hints) for each in selected]


def _endpoints(data: Slice, target: ServicePort) -> Iterator[_Endpoint]:
    endpoints = [each for each in data.get("endpoints") or () if each.get("addresses")]
    if not endpoints:
        return
    port = _choose_port(data.get("ports") or (), target)
    if port is None:
        return
    scheme = "https" if _is_https(port) else "http"
    number = int(port["port"])
    if not 0 < number < 65536:
        raise ValueError(f"{number} is no port")
    for each in endpoints:
        yield _Endpoint(each, number, scheme, str(data.get("addressType", "")))


def _choose_port(ports: Sequence[Mapping[str, Any]], target: ServicePort) -> Mapping[str, Any] | None:
    """Return the port with the name or number of *target*; without one the only TCP port, else ``http`` or ``https``.

    None when no port matches. Raises SourceError when several ports match.
    """
    numbered = [each for each in ports if each.get("port") and each.get("protocol", "TCP") == "TCP"]
    if target.port:
        if not ports and target.port.isdigit():
            return {"port": int(target.port)}
        return next((each for each in numbered if target.port in (each.get("name"), str(each["port"]))), None)
    if len(numbered) < 2:
        return next(iter(numbered), None)
    for name in ("http", "https"):
        if found := [each for each in numbered if name in (each.get("name"), each.get("appProtocol"))]:
            return found[0]
    names = ", ".join(str(each.get("name") or each["port"]) for each in numbered)
    where = f"{target.service}.{target.namespace}"
    raise SourceError(f"the service {where} has the ports {names}: append one to the name, such as {where}:PORT")


def _is_https(port: Mapping[str, Any]) -> bool:
    name = str(port.get("name") or "")
    return port.get("appProtocol") == "https" or name == "https" or name.startswith("https-")


def _hinted_zones(endpoint: _Endpoint) -> list[str]:
    return [str(each["name"]) for each in (endpoint.data.get("hints") or {}).get("forZones") or ()]


def _instance(endpoint: _Endpoint, zone: str, *, has_hints: bool) -> ServiceInstance:
    data = endpoint.data
    own_zone = str(data.get("zone") or "")
    zones = _hinted_zones(endpoint) if has_hints else [own_zone]
    address = str(data["addresses"][0])
    if not _ADDRESS.fullmatch(address):
        raise ValueError("no address or host name")
    pod = str((data.get("targetRef") or {}).get("name") or address)
    return ServiceInstance(
        id=f"{pod}:{endpoint.port}",
        address=address,
        port=endpoint.port,
        scheme=endpoint.scheme,
        zone=own_zone,
        same_zone=bool(zone) and zone in zones,
    )
