"""The table ``[plugins.discovery]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scalekit import (
    SERVICE_NAME_PATTERN,
    AppName,
    Certificates,
    Duration,
    HostName,
    HttpUrl,
    PositiveDuration,
    Secret,
    TextPattern,
    split_address,
)

NAME = SERVICE_NAME_PATTERN
SHORTEST_DEREGISTRATION = 60.0

_EXPECTED = 'a name of letters, digits, ".", "_" and "-", such as "shop"'
ServiceName = Annotated[str, TextPattern(NAME, _EXPECTED)]


def _of_an_instance(url: HttpUrl) -> HttpUrl:
    parts = url.parts
    if parts.user is not None or parts.password is not None:
        raise ValueError("the address holds a user; send credentials in a header of each call")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("an instance is a scheme, a host and a port; put the path into the call")
    return url


def _nameserver(text: str) -> str:
    if text:
        split_address(text)
    return text


InstanceUrl = Annotated[HttpUrl, AfterValidator(_of_an_instance)]


class DiscoveryConfig(Certificates):
    """Where services are, how this one is found, and how others are called."""

    source: Literal["static", "consul", "dns"] = "static"
    """Who knows where services are: this file, Consul or DNS."""
    services: dict[ServiceName, tuple[InstanceUrl, ...]] = {}
    """Services by name and their instances; what is named here is not looked for elsewhere."""
    service: Annotated[str, TextPattern(f"{NAME}|^$", _EXPECTED), AppName("source", "consul")] = ""
    """The name under which Consul gets to know this service; without it ``[app] name``, empty does not register it."""
    id: Annotated[str, TextPattern(f"{NAME}|^$", _EXPECTED)] = ""
    """What tells this instance from the others of its service; empty makes it of service, address and port."""
    address: HostName | None = None
    """Where others reach this instance; without it, the address that is served or from which Consul is reached."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port at which others reach it; without it, the one that is served."""
    tags: tuple[str, ...] = ()
    """Tags that it is registered with."""
    meta: dict[str, str] = {}
    """What else is known of it; ``scheme = "https"`` tells how it is called."""
    weight: Annotated[int, Field(ge=1, le=65535)] = 1
    """The share of calls that this instance gets beside the others."""
    check: Literal["http", "ttl"] = "http"
    """Whether Consul asks ``/health/ready``, or this instance tells Consul how it is."""
    check_interval: PositiveDuration = Duration("10s")
    """Time between two checks; with ttl, how long Consul waits for word."""
    check_timeout: PositiveDuration = Duration("2s")
    """How long one check may take."""
    deregister_after: Duration = Duration("10m")
    """How long an instance may fail its check before Consul forgets it; a minute at least."""
    consul: InstanceUrl = HttpUrl("http://127.0.0.1:8500")
    """Consul's HTTP API, of the agent on this machine as a rule."""
    token: Secret | None = None
    """Consul's ACL token."""
    namespace: str = ""
    """Consul's namespace, in its enterprise edition."""
    datacenter: str = ""
    """The datacenter that is asked; empty is that of the agent."""
    wait: Annotated[Duration, Field(ge=1, le=600)] = Duration("55s")
    """How long one question to Consul waits for a change."""
    stale: bool = True
    """Whether any server of Consul may answer, not only the leader."""
    restart_grace: PositiveDuration = Duration("30s")
    """How long an instance that was healthy stays in use while an agent, restarted perhaps, has not run its check."""
    domain: str = ""
    """The domain under which DNS has the services, such as ``service.consul``."""
    nameserver: Annotated[str, AfterValidator(_nameserver)] = ""
    """The DNS server, as ``host:port``; empty takes the machine's."""
    records: Literal["srv", "a"] = "srv"
    """Which records are asked for; ``a`` has AAAA too, and no ports."""
    dns_port: Annotated[int, Field(ge=1, le=65535)] = 80
    """The port of instances from A records."""
    dns_interval: PositiveDuration = Duration("10s")
    """The longest time between two questions to DNS; the records' own time to live may shorten it."""
    keep: str = ".discovery"
    """The folder that keeps the last known instances for a start without their source; empty keeps none."""
    first_wait: PositiveDuration = Duration("2s")
    """How long the first call to a service waits until its instances are known."""
    timeout: PositiveDuration = Duration("10s")
    """The deadline of a call with all its attempts."""
    attempt_timeout: PositiveDuration = Duration("2s")
    """How long an attempt may take until its answer begins, where another may follow."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How many further attempts a call gets."""
    retry_budget: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of calls that may be attempted anew, besides ten a second."""
    failures: Annotated[int, Field(ge=1)] = 5
    """Failures in a row after which an instance gets no calls."""
    ejection: PositiveDuration = Duration("30s")
    """How long it gets none."""
    max_connections: Annotated[int, Field(ge=1)] = 100
    """Connections to one instance, in each process."""

    @model_validator(mode="after")
    def _fits_together(self) -> DiscoveryConfig:
        if self.deregister_after < SHORTEST_DEREGISTRATION:
            raise ValueError(f"deregister_after {self.deregister_after} is less than Consul's least; write 1m or more")
        if self.service and self.source != "consul":
            raise ValueError('service is registered in Consul only; write source = "consul", or leave service out')
        if self.source == "dns" and not self.domain:
            raise ValueError('source = "dns" needs a domain; write domain = "service.consul"')
        if self.source == "consul":
            self.refuse_unless("https", self.consul)
        if self.check_timeout > self.check_interval:
            raise ValueError(f"check_timeout {self.check_timeout} is longer than check_interval; make it shorter")
        return self
