"""Put together what a table describes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from scalekit.telemetry import Telemetry
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.connector import Connector
from scalekit_discovery.consul.client import Consul, consul
from scalekit_discovery.consul.source import ConsulSource
from scalekit_discovery.instances import at
from scalekit_discovery.responses import Answer
from scalekit_discovery.service_directory import Services
from scalekit_discovery.sources import FileFirst, Source, StaticSource

KEPT_ALIVE = 15.0
"""Seconds that an idle connection is kept; less than servers keep theirs, which may close just when it is used."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The services, what calls them, and Consul where that is the source."""

    services: Services
    session: aiohttp.ClientSession
    consul: Consul | None


@asynccontextmanager
async def opened(config: DiscoveryConfig, telemetry: Telemetry) -> AsyncGenerator[Opened, None]:
    """Return what *config* describes, followed and connected while inside; nothing is registered."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(consul(config)) if config.source == "consul" else None
        session = await stack.enter_async_context(_session(config))
        services = Services(config, _source(config, api), session, telemetry)
        stack.push_async_callback(services.stop)
        yield Opened(services, session, api)


def verify_source(config: DiscoveryConfig) -> None:
    """Raise ImportError when a library is not there, and StartError when the source is known not to be reached."""
    if config.source == "consul" and config.consul.scheme == "https":
        config.tls("Consul")
    if config.source == "dns":
        from scalekit_discovery.dns_source import DnsSource

        DnsSource(config)


def _session(config: DiscoveryConfig) -> aiohttp.ClientSession:
    connector = Connector(limit=0, limit_per_host=config.max_connections, keepalive_timeout=KEPT_ALIVE)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), response_class=Answer)


def _source(config: DiscoveryConfig, api: Consul | None) -> Source:
    named = {name: [at(url.reveal()) for url in urls] for name, urls in config.services.items()}
    if api is not None:
        return FileFirst(named, ConsulSource(api, config.wait, config.restart_grace))
    if config.source == "dns":
        from scalekit_discovery.dns_source import DnsSource

        return FileFirst(named, DnsSource(config))
    return StaticSource(named)
