"""Servers that a service connects to, as plugins report them to ``scalekit deploy``."""

from __future__ import annotations

from dataclasses import dataclass

from scalekit.config.url import Url

POSTGRESQL, MYSQL, REDIS, REDIS_CLUSTER, REDIS_SENTINEL, RABBITMQ, CONSUL, OTLP, KUBERNETES = (
    "postgresql",
    "mysql",
    "redis",
    "redis-cluster",
    "redis-sentinel",
    "rabbitmq",
    "consul",
    "otlp",
    "kubernetes",
)
_KINDS = {
    "postgresql": POSTGRESQL,
    "postgres": POSTGRESQL,
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "redis": REDIS,
    "rediss": REDIS,
    "unix": REDIS,
    "redis-cluster": REDIS_CLUSTER,
    "rediss-cluster": REDIS_CLUSTER,
    "redis-sentinel": REDIS_SENTINEL,
    "rediss-sentinel": REDIS_SENTINEL,
    "amqp": RABBITMQ,
    "amqps": RABBITMQ,
}
"""The kind of server by the scheme of its URL."""


@dataclass(frozen=True, slots=True)
class ServerRequirement:
    """A server of *kind* whose address is the value of *key*, such as ``plugins.pool.url``.

    *purpose* is what the service uses the server for, such as ``database``. *address* is the form of the value where it
    is no URL, such as ``{host}:{port}``. A *replica* follows another server of the kind and takes no writes.
    """

    kind: str
    key: str
    purpose: str
    address: str = ""
    replica: bool = False


def required_server(url: Url | None, key: str, purpose: str, *, replica: bool = False) -> list[ServerRequirement]:
    """Return the server that *url* names as a list of one; an empty list when it names none, such as ``memory:``."""
    kind = _KINDS.get(url.scheme) if url is not None else None
    return [ServerRequirement(kind, key, purpose, replica=replica)] if kind else []
