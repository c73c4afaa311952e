"""The table ``[plugins.cluster-cache]``."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, model_validator

from scalekit import Duration, PositiveDuration, PositiveSize, Secret, Size, Table, TextPattern, mask_address
from scalekit_redis.url import Host, parse

MEMORY = "memory:"


def _node(text: object) -> Host:
    try:
        if not isinstance(text, str) or any(sign in text for sign in "/@?"):
            raise ValueError
        ((host, port),) = parse(f"redis-cluster://{text}").hosts
    except ValueError:
        raise ValueError(
            f'expected a node as "host:port", such as "10.0.0.5:6379", got {mask_address(str(text))!r}'
        ) from None
    return host, port


def shown(host: Host) -> str:
    """Return *host* as it is written in an address."""
    return f"[{host[0]}]:{host[1]}" if ":" in host[0] else f"{host[0]}:{host[1]}"


def _listed(value: Any) -> Any:
    """Take a text of several nodes, as variables of the environment have them, for a list."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    return () if value.strip() == MEMORY else tuple(part.strip() for part in value.split(",") if part.strip())


Node = Annotated[Host, PlainValidator(_node, json_schema_input_type=str), PlainSerializer(shown, return_type=str)]


class Tls(Table):
    """How nodes prove who they are, and this service to them."""

    ca: str | None = None
    """File with the certificates of the authorities that are believed; without it those of the system."""
    certificate: str | None = None
    """File with the certificate of this service, where nodes want one."""
    key: str | None = None
    """File with the key of that certificate."""
    check_hostname: bool = True
    """Whether a node's certificate must name the node."""


class ClusterCacheConfig(Table):
    """Where values are kept that all processes share, and what of them each process has at hand."""

    nodes: Annotated[tuple[Node, ...], BeforeValidator(_listed)] = ()
    """Nodes that tell of the whole cluster, each as ``host:port``; without any it is the memory of each process."""
    username: str | None = None
    """The user whose password it is; without it the default user."""
    password: Secret | None = None
    """The password of every node."""
    tls: Tls | None = None
    """A table, which may be empty, has nodes spoken to over TLS."""
    read_from: Literal["primary", "replica"] = "primary"
    """``replica`` lets replicas answer for values, which may be older; purges are asked of masters all the same."""
    deadline: PositiveDuration = Duration("50ms")
    """How long the cluster may take; what takes longer is missing."""
    disconnected_ttl: Duration = Duration("800ms")
    """How long what the process has is given while the shared store cannot be asked; purges elsewhere are not seen."""
    prefix: Annotated[
        str, TextPattern(r"^[A-Za-z0-9:._-]{1,64}$", '1 to 64 letters, digits and ": . _ -", such as "shop"')
    ] = "scalekit:cluster"
    """What keys in the cluster begin with; services that share it need one each."""
    size: PositiveSize = Size("64MiB")
    """Bytes of memory for what each process has at hand."""
    wait: PositiveDuration = Duration("10s")
    """How long one who misses a value waits for another who makes it, before making it too."""
    per_worker: bool = False
    """Whether each worker may have a memory of its own, which a purge in another does not reach."""

    @model_validator(mode="after")
    def _needs_nodes(self) -> ClusterCacheConfig:
        given = [name for name in ("username", "password", "tls") if getattr(self, name)]
        if given and not self.nodes:
            raise ValueError(f'{given[0]} is for nodes, but there are none; name one: nodes = ["10.0.0.5:6379"]')
        if self.tls is not None and bool(self.tls.certificate) != bool(self.tls.key):
            raise ValueError("tls.certificate and tls.key belong together; give both or neither")
        return self

    @property
    def url(self) -> str:
        """The address of the cluster, secrets included."""
        return self._address("-cluster", self.nodes)

    def url_of(self, host: Host) -> str:
        """Return the address of one node, secrets included."""
        return self._address("", (host,))

    def _address(self, kind: str, hosts: tuple[Host, ...]) -> str:
        scheme = ("redis" if self.tls is None else "rediss") + kind
        password = quote(self.password.get_secret_value(), safe="") if self.password else ""
        user = f"{quote(self.username or '', safe='')}:{password}@" if self.username or password else ""
        options = urlencode(_options(self.tls)) if self.tls else ""
        return f"{scheme}://{user}{','.join(map(shown, hosts))}" + (f"?{options}" if options else "")


def _options(tls: Tls) -> dict[str, str]:
    files = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
    chosen = {name: file for name, file in files.items() if file}
    return chosen if tls.check_hostname else {**chosen, "ssl_check_hostname": "false"}
