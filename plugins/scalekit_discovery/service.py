"""The life of the plugin in one process."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from scalekit import SERVER_INFO, Context
from scalekit.telemetry import TELEMETRY, Telemetry
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.consul.registrar import ConsulRegistrar
from scalekit_discovery.consul.registration import registration
from scalekit_discovery.factory import DiscoveryComponents, open_components
from scalekit_discovery.metrics import REGISTERED
from scalekit_discovery.service_directory import ServiceDirectory

logger = logging.getLogger("scalekit.discovery")


class DiscoveryService:
    """What is followed, and what registers this process, of one application."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._services: ServiceDirectory | None = None
        self._registrar: ConsulRegistrar | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[ServiceDirectory, None]:
        """Follow services while inside; at the end deregister what was registered."""
        telemetry = self._context.get(TELEMETRY)
        config = self._context.config(DiscoveryConfig)
        async with open_components(config, telemetry) as found:
            self._services = found.services
            self._registrar = self._new_registrar(config, found)
            with telemetry.on_collect(lambda: self._sample(telemetry)):
                try:
                    yield found.services
                finally:
                    if self._registrar is not None:
                        await self._registrar.stop()
                    self._services = self._registrar = None

    async def begin(self) -> None:
        """Register, once this process serves."""
        if self._registrar is not None:
            self._registrar.start()

    async def drain(self) -> None:
        """Take this instance out of service, unless other workers go on serving."""
        if self._registrar is None:
            return
        if self._context.get(SERVER_INFO).retiring:
            await self._registrar.retire()
        else:
            await self._registrar.drain()

    async def check_source(self) -> None:
        """Raise ConnectionError saying why the source does not answer, whether or not a service is followed."""
        if self._services is None:
            return
        if troubles := self._services.troubles():
            raise ConnectionError("; ".join(troubles))
        await self._services.source.check()

    async def check_registration(self) -> None:
        """Raise ConnectionError saying why this instance is not registered."""
        if self._registrar is not None and self._registrar.trouble:
            raise ConnectionError(self._registrar.trouble)

    def _new_registrar(self, config: DiscoveryConfig, found: DiscoveryComponents) -> ConsulRegistrar | None:
        if found.consul is None or not config.service or not self._context.has(SERVER_INFO):
            return None
        described = registration(config, self._context.get(SERVER_INFO), self._context.server.hosts)
        return ConsulRegistrar(found.consul, found.session, described)

    def _sample(self, telemetry: Telemetry) -> None:
        if not self._context.config(DiscoveryConfig).service:
            return
        registrar = self._registrar
        telemetry.series(REGISTERED).set(bool(registrar and registrar.registered))
