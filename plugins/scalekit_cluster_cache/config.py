"""The table ``[plugins.cluster-cache]``."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, model_validator

from scalekit import Duration, PositiveDuration, PositiveSize, Secret, Size, Table, TextPattern, Tls, mask_url
from scalekit_redis import HostPort, parse_url

MEMORY = "memory:"


def _node(text: object) -> HostPort:
    try:
        if not isinstance(text, str) or any(sign in text for sign in "/@?"):
            raise ValueError
        ((host, port),) = parse_url(f"redis-cluster://{text}").hosts
    except ValueError:
        raise ValueError(
            f'expected a node as "host:port", such as "10.0.0.5:6379", got {mask_url(str(text))!r}'
        ) from None
    return host, port


def host_port(node: HostPort) -> str:
    """Return *node* as ``host:port``, an IPv6 address in brackets."""
    return f"[{node[0]}]:{node[1]}" if ":" in node[0] else f"{node[0]}:{node[1]}"


def _split(value: Any) -> Any:
    """Split a text of several nodes with commas, as in an environment variable."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    return () if value.strip() == MEMORY else tuple(part.strip() for part in value.split(",") if part.strip())


Node = Annotated[
    HostPort, PlainValidator(_node, json_schema_input_type=str), PlainSerializer(host_port, return_type=str)
]


class ClusterCacheConfig(Table):
    """A key-value cache on a Redis Cluster with a local level in each process."""

    nodes: Annotated[tuple[Node, ...], BeforeValidator(_split)] = ()
    """Seed nodes of the cluster as ``host:port``; without any the cache is in the memory of each process."""
    username: str | None = None
    """ACL user; without it the default user."""
    password: Secret | None = None
    """Password of every node."""
    tls: Tls | None = None
    """TLS to the nodes; an empty table turns it on."""
    read_from: Literal["primary", "replica"] = "primary"
    """``replica`` reads values from replicas, which may lag; tag versions always from primaries: purges are instant."""
    store_timeout: PositiveDuration = Duration("50ms")
    """Timeout of a call of the cluster; a call that times out is a miss."""
    disconnected_ttl: Duration = Duration("800ms")
    """How long local values are used while the cluster is unavailable, without purges of other processes."""
    prefix: Annotated[
        str, TextPattern(r"^[A-Za-z0-9:._-]{1,64}$", '1 to 64 letters, digits and ": . _ -", such as "shop"')
    ] = "scalekit:cluster"
    """Prefix of keys in the cluster; services that share it need different ones."""
    memory_size: PositiveSize = Size("64MiB")
    """Memory of the local level in each process."""
    coalesce_timeout: PositiveDuration = Duration("10s")
    """How long a caller waits for a concurrent one that makes the missing value, before it makes the value itself."""
    per_worker: bool = False
    """Allow several workers without nodes, each with a separate memory, which purges in others do not reach."""

    @model_validator(mode="after")
    def _needs_nodes(self) -> ClusterCacheConfig:
        names = [name for name in ("username", "password", "tls") if getattr(self, name)]
        if names and not self.nodes:
            raise ValueError(f'{names[0]} is set but nodes is empty; name a node: nodes = ["10.0.0.5:6379"]')
        return self

    @property
    def url(self) -> str:
        """The URL of the cluster, secrets included."""
        return self._url("-cluster", self.nodes)

    def url_of(self, node: HostPort) -> str:
        """Return the URL of one node, secrets included."""
        return self._url("", (node,))

    def _url(self, kind: str, nodes: tuple[HostPort, ...]) -> str:
        scheme = ("redis" if self.tls is None else "rediss") + kind
        password = quote(self.password.get_secret_value(), safe="") if self.password else ""
        user = f"{quote(self.username or '', safe='')}:{password}@" if self.username or password else ""
        options = urlencode(_options(self.tls), quote_via=quote) if self.tls else ""
        return f"{scheme}://{user}{','.join(map(host_port, nodes))}" + (f"?{options}" if options else "")


def _options(tls: Tls) -> dict[str, str]:
    files = {"ssl_ca_certs": tls.ca_file, "ssl_certfile": tls.cert_file, "ssl_keyfile": tls.key_file}
    options = {name: file for name, file in files.items() if file}
    return options if tls.verify == "full" else {**options, "ssl_check_hostname": "false"}
