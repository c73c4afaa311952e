"""The table ``[plugins.discovery]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scalekit import (
    SERVICE_NAME_PATTERN,
    AppName,
    DeployMark,
    Duration,
    HostName,
    HttpUrl,
    PositiveDuration,
    Secret,
    Table,
    TextPattern,
    Tls,
    is_loopback,
    split_address,
)

NAME = SERVICE_NAME_PATTERN
MIN_DEREGISTRATION = 60.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder into which the kubelet writes token, CA certificate and namespace of a pod."""

_EXPECTED = 'a name of letters, digits, ".", "_" and "-", such as "shop"'
ServiceName = Annotated[str, TextPattern(NAME, _EXPECTED)]


def _check_instance_url(url: HttpUrl) -> HttpUrl:
    parts = url.parts
    if parts.user is not None or parts.password is not None:
        raise ValueError("the URL contains credentials; send them in a header of each call")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("an instance is a scheme, a host and a port; put the path into the call")
    return url


def _check_nameserver(text: str) -> str:
    if text:
        split_address(text)
    return text


InstanceUrl = Annotated[HttpUrl, AfterValidator(_check_instance_url)]


class DiscoveryConfig(Table):
    """The source of instances, the registration of this instance, and the calls of other services."""

    source: Literal["static", "consul", "dns", "kubernetes"] = "static"
    """The source of instances: this file, Consul, DNS or the EndpointSlices of Kubernetes."""
    services: dict[ServiceName, tuple[InstanceUrl, ...]] = {}
    """Instances by service; the source is not queried for a service named here."""
    service: Annotated[str, TextPattern(f"{NAME}|^$", _EXPECTED), AppName("source", "consul")] = ""
    """Name under which this service is registered in Consul, by default ``[app] name``; empty does not register it."""
    id: Annotated[str, TextPattern(f"{NAME}|^$", _EXPECTED)] = ""
    """Id of this instance; empty builds it from service, address and port."""
    address: HostName | None = None
    """Address that is registered; by default the bind address, or the address from which Consul is reached."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port that is registered; by default the bound port."""
    tags: tuple[str, ...] = ()
    """Tags of the registration."""
    meta: dict[str, str] = {}
    """Metadata of the registration; ``scheme = "https"`` makes callers use HTTPS."""
    weight: Annotated[int, Field(ge=1, le=65535)] = 1
    """Weight of this instance in load balancing."""
    check_type: Literal["http", "ttl"] = "http"
    """Consul's health check: ``http`` requests ``/health/ready``; with ``ttl`` this instance reports to Consul."""
    check_interval: PositiveDuration = Duration("10s")
    """Time between two checks; with ``ttl`` the check's TTL."""
    check_timeout: PositiveDuration = Duration("2s")
    """Timeout of a check."""
    deregister_after: Duration = Duration("10m")
    """How long the check may fail before Consul deregisters the instance; at least a minute."""
    consul: InstanceUrl = HttpUrl("http://127.0.0.1:8500")
    """URL of Consul's HTTP API, usually of the agent on this machine."""
    token: Secret | None = None
    """Consul's ACL token, or a bearer token of Kubernetes that is not in ``token_file``."""
    namespace: str = ""
    """Namespace of the services: Consul's (Enterprise), or that of Kubernetes, by default the pod's."""
    datacenter: str = ""
    """Datacenter to query; empty is the agent's."""
    tls: Tls | None = None
    """TLS to Consul or Kubernetes, with an ``https`` URL: ``{ ca_file, cert_file, key_file, verify }``."""
    blocking_wait: Annotated[Duration, Field(ge=1, le=600)] = Duration("55s")
    """How long one blocking query to Consul waits for a change."""
    allow_stale: bool = True
    """Let any Consul server respond, not only the leader."""
    restart_grace: PositiveDuration = Duration("30s")
    """How long a healthy instance stays in use while a restarted agent has not run its check."""
    kubernetes: InstanceUrl | None = None
    """URL of the Kubernetes API; by default that of the cluster in which this process runs."""
    token_file: str = str(SERVICE_ACCOUNT / "token")
    """File with the token of the service account, read again for each request; empty sends none."""
    watch_timeout: Annotated[Duration, Field(ge=1, le=3600)] = Duration("5m")
    """How long one watch of EndpointSlices lasts at most before the next continues it."""
    zone: str = ""
    """Zone of this process, whose instances are preferred; empty reads it from the labels of ``node``."""
    node: str = ""
    """Name of the Kubernetes node of this process; empty with an empty ``zone`` prefers no zone."""
    domain: str = ""
    """Domain of the services in DNS, such as ``service.consul``."""
    nameserver: Annotated[str, AfterValidator(_check_nameserver)] = ""
    """DNS server, as ``host:port``; empty uses the system's."""
    records: Literal["srv", "a"] = "srv"
    """Record type to query; ``a`` includes AAAA."""
    dns_port: Annotated[int, Field(ge=1, le=65535)] = 80
    """Port of instances from A and AAAA records."""
    dns_interval: PositiveDuration = Duration("10s")
    """Maximum time between two DNS queries; a shorter TTL of the records applies."""
    cache_dir: Annotated[str, DeployMark("cache_path")] = ".discovery"
    """Folder that caches the last known instances for a start without the source; empty disables the cache."""
    initial_timeout: PositiveDuration = Duration("2s")
    """How long the first call of a service waits until its instances are known."""
    timeout: PositiveDuration = Duration("10s")
    """Timeout of a call with all its attempts."""
    attempt_timeout: PositiveDuration = Duration("2s")
    """Timeout of an attempt until the head of its response, when another attempt may follow."""
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Maximum number of retries of a call."""
    retry_budget: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of calls that may be retries, besides ten a second."""
    consecutive_failures: Annotated[int, Field(ge=1)] = 5
    """Consecutive failures that eject an instance."""
    ejection_time: PositiveDuration = Duration("30s")
    """How long an ejected instance receives no calls."""
    max_connections: Annotated[int, Field(ge=1)] = 100
    """Maximum number of connections to one instance in each process."""

    @model_validator(mode="after")
    def _check_combination(self) -> DiscoveryConfig:
        if self.deregister_after < MIN_DEREGISTRATION:
            raise ValueError(f"deregister_after {self.deregister_after} is below Consul's minimum; write 1m or more")
        if self.service and self.source != "consul":
            raise ValueError('service is registered in Consul only; write source = "consul", or leave service out')
        if self.source == "dns" and not self.domain:
            raise ValueError('source = "dns" needs a domain; write domain = "service.consul"')
        if self.source == "consul" and self.tls is not None:
            self.tls.require_scheme("https", self.consul)
        if self.source == "kubernetes" and self.kubernetes is not None:
            self._check_kubernetes(self.kubernetes)
        if self.check_timeout > self.check_interval:
            raise ValueError(f"check_timeout {self.check_timeout} is longer than check_interval; make it shorter")
        return self

    def _check_kubernetes(self, url: HttpUrl) -> None:
        if self.tls is not None:
            self.tls.require_scheme("https", url)
        if url.scheme == "http" and not is_loopback(url.parts.host):
            raise ValueError(
                f"kubernetes {url} would send tokens and instances unencrypted; write https://, or the loopback"
                " address of kubectl proxy"
            )
