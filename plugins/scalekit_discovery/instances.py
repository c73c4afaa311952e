"""An instance of a service: its address, tags, metadata and weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scalekit import split_url

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ServiceInstance:
    """One running copy of a service, or a load balancer in front of it."""

    id: str
    address: str
    port: int
    scheme: str = "http"
    tags: tuple[str, ...] = field(default=(), kw_only=True)
    meta: Mapping[str, str] = field(default_factory=dict, hash=False, kw_only=True)
    weight: int = field(default=1, kw_only=True)
    zone: str = field(default="", kw_only=True)
    """Its availability zone, empty when the source has none."""
    same_zone: bool = field(default=True, kw_only=True)
    """Whether callers in the zone of this process prefer it; true of all instances without a preference."""

    @property
    def url(self) -> str:
        """Its URL without a path, such as ``http://127.0.0.1:8001``."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{host}:{self.port}"

    def to_json(self) -> dict[str, object]:
        """Return the mapping that :meth:`from_json` reads."""
        names = ("id", "address", "port", "scheme", "tags", "meta", "weight", "zone", "same_zone")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ServiceInstance:
        """Return the instance of *data*; raise KeyError, TypeError or ValueError when *data* is invalid."""
        return cls(
            str(data["id"]),
            str(data["address"]),
            int(data["port"]),
            str(data["scheme"]),
            tags=tuple(map(str, data["tags"])),
            meta={str(key): str(value) for key, value in dict(data["meta"]).items()},
            weight=int(data["weight"]),
            zone=str(data.get("zone", "")),
            same_zone=bool(data.get("same_zone", True)),
        )


def instance_at(url: str) -> ServiceInstance:
    """Return the instance at *url*."""
    parts = split_url(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return ServiceInstance(f"{parts.host}:{port}", parts.host, port, parts.scheme)
