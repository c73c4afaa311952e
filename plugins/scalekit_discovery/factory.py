"""Build the source, the service directory and the HTTP session from the configuration."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from scalekit.telemetry import Telemetry
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.connector import new_session
from scalekit_discovery.consul.client import ConsulClient, consul_ssl, open_consul
from scalekit_discovery.consul.source import ConsulSource
from scalekit_discovery.instances import instance_at
from scalekit_discovery.kubernetes.client import open_kubernetes
from scalekit_discovery.kubernetes.service_account import ServiceAccount
from scalekit_discovery.kubernetes.source import KubernetesSource
from scalekit_discovery.load_balancer import LoadBalancer
from scalekit_discovery.service_directory import ServiceDirectory
from scalekit_discovery.sources import Source, StaticOverrides, StaticSource


@dataclass(frozen=True, slots=True)
class DiscoveryComponents:
    """The service directory, the session of its calls, and the Consul client when Consul is the source."""

    directory: ServiceDirectory
    session: aiohttp.ClientSession
    consul: ConsulClient | None


@asynccontextmanager
async def open_components(
    config: DiscoveryConfig, telemetry: Telemetry, balancer_type: type[LoadBalancer] = LoadBalancer
) -> AsyncGenerator[DiscoveryComponents, None]:
    """Open the components of *config* while inside; this registers nothing."""
    async with AsyncExitStack() as stack:
        consul = await stack.enter_async_context(open_consul(config)) if config.source == "consul" else None
        session = await stack.enter_async_context(new_session(config))
        source = await stack.enter_async_context(_open_source(config, consul))
        directory = ServiceDirectory(config, source, session, telemetry, balancer_type)
        stack.push_async_callback(directory.stop)
        yield DiscoveryComponents(directory, session, consul)


def verify_source(config: DiscoveryConfig) -> None:
    """Raise ImportError when a library is missing, and StartError when the source's settings cannot work."""
    if config.source == "consul":
        consul_ssl(config)
    if config.source == "dns":
        from scalekit_discovery.dns_source import DnsSource

        DnsSource(config)
    if config.source == "kubernetes":
        ServiceAccount(config).ssl_context()


@asynccontextmanager
async def _open_source(config: DiscoveryConfig, consul: ConsulClient | None) -> AsyncGenerator[Source, None]:
    static = {name: [instance_at(url.reveal()) for url in urls] for name, urls in config.services.items()}
    if consul is not None:
        yield StaticOverrides(static, ConsulSource(consul, config.blocking_wait, config.restart_grace))
    elif config.source == "dns":
        from scalekit_discovery.dns_source import DnsSource

        yield StaticOverrides(static, DnsSource(config))
    elif config.source == "kubernetes":
        async with open_kubernetes(config) as client:
            yield StaticOverrides(static, KubernetesSource(client, config))
    else:
        yield StaticSource(static)
