"""Put together what a table describes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from scalekit.telemetry import Telemetry
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.connector import LivenessCheckingConnector
from scalekit_discovery.consul.client import ConsulClient, consul
from scalekit_discovery.consul.source import ConsulSource
from scalekit_discovery.instances import at
from scalekit_discovery.responses import UpstreamResponse
from scalekit_discovery.service_directory import ServiceDirectory
from scalekit_discovery.sources import Source, StaticOverrides, StaticSource

KEPT_ALIVE = 15.0
"""Seconds that an idle connection is kept; less than servers keep theirs, which may close just when it is used."""


@dataclass(frozen=True, slots=True)
class DiscoveryComponents:
    """The services, what calls them, and Consul where that is the source."""

    services: ServiceDirectory
    session: aiohttp.ClientSession
    consul: ConsulClient | None


@asynccontextmanager
async def open_components(config: DiscoveryConfig, telemetry: Telemetry) -> AsyncGenerator[DiscoveryComponents, None]:
    """Return what *config* describes, followed and connected while inside; nothing is registered."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(consul(config)) if config.source == "consul" else None
        session = await stack.enter_async_context(_session(config))
        services = ServiceDirectory(config, _source(config, api), session, telemetry)
        stack.push_async_callback(services.stop)
        yield DiscoveryComponents(services, session, api)


def verify_source(config: DiscoveryConfig) -> None:
    """Raise ImportError when a library is not there, and StartError when the source is known not to be reached."""
    if config.source == "consul" and config.consul.scheme == "https":
        config.tls("Consul")
    if config.source == "dns":
        from scalekit_discovery.dns_source import DnsSource

        DnsSource(config)


def _session(config: DiscoveryConfig) -> aiohttp.ClientSession:
    connector = LivenessCheckingConnector(limit=0, limit_per_host=config.max_connections, keepalive_timeout=KEPT_ALIVE)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), response_class=UpstreamResponse
    )


def _source(config: DiscoveryConfig, api: ConsulClient | None) -> Source:
    named = {name: [at(url.reveal()) for url in urls] for name, urls in config.services.items()}
    if api is not None:
        return StaticOverrides(named, ConsulSource(api, config.wait, config.restart_grace))
    if config.source == "dns":
        from scalekit_discovery.dns_source import DnsSource

        return StaticOverrides(named, DnsSource(config))
    return StaticSource(named)
