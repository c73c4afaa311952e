"""An instance of a service: where it is and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scalekit import split_url

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ServiceInstance:
    """One process, or balancer, that answers for a service."""

    id: str
    address: str
    port: int
    scheme: str = "http"
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)
    weight: int = 1

    @property
    def url(self) -> str:
        """Its address without a path, such as ``http://127.0.0.1:8001``."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{host}:{self.port}"

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        names = ("id", "address", "port", "scheme", "tags", "meta", "weight")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ServiceInstance:
        """Return the instance that *data* describes; raises KeyError, TypeError or ValueError when it does not."""
        return cls(
            str(data["id"]),
            str(data["address"]),
            int(data["port"]),
            str(data["scheme"]),
            tuple(map(str, data["tags"])),
            {str(key): str(value) for key, value in dict(data["meta"]).items()},
            int(data["weight"]),
        )


def at(url: str) -> ServiceInstance:
    """Return the instance at *url*."""
    parts = split_url(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return ServiceInstance(f"{parts.host}:{port}", parts.host, port, parts.scheme)
