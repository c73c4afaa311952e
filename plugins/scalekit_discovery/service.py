"""Discovery in one process from start to shutdown: watch services, register this instance."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from scalekit import SERVER_INFO, Context
from scalekit.telemetry import TELEMETRY, Telemetry
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.consul.registrar import ConsulRegistrar
from scalekit_discovery.consul.registration import build_registration
from scalekit_discovery.factory import DiscoveryComponents, open_components
from scalekit_discovery.load_balancer import LoadBalancer
from scalekit_discovery.metrics import REGISTERED
from scalekit_discovery.service_directory import ServiceDirectory


class DiscoveryService:
    """The service directory and the registrar of one application."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.balancer_type: type[LoadBalancer] = LoadBalancer
        """The load balancer of each service; set before the start."""
        self.directory: ServiceDirectory | None = None
        self.registrar: ConsulRegistrar | None = None

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[ServiceDirectory, None]:
        """Watch services while inside; on leaving deregister this instance."""
        telemetry = self._context.get(TELEMETRY)
        config = self._context.config(DiscoveryConfig)
        async with open_components(config, telemetry, self.balancer_type) as components:
            self.directory = components.directory
            self.registrar = self._new_registrar(config, components)
            with telemetry.on_collect(lambda: self._collect(telemetry)):
                try:
                    yield components.directory
                finally:
                    if self.registrar is not None:
                        await self.registrar.stop()
                    self.directory = self.registrar = None

    async def start(self) -> None:
        """Register this instance, now that the process serves."""
        if self.registrar is not None:
            self.registrar.start()

    async def drain(self) -> None:
        """Put this instance into maintenance, unless other workers continue to serve it."""
        if self.registrar is None:
            return
        if self._context.get(SERVER_INFO).retiring:
            await self.registrar.hand_over()
        else:
            await self.registrar.drain()

    async def check_source(self) -> None:
        """Raise ConnectionError with the cause when the source is unavailable."""
        if self.directory is None:
            return
        if errors := self.directory.source_errors():
            raise ConnectionError("; ".join(errors))
        await self.directory.source.check()

    async def check_registration(self) -> None:
        """Raise ConnectionError with the cause when this instance is not registered."""
        if self.registrar is not None and self.registrar.last_error:
            raise ConnectionError(self.registrar.last_error)

    def _new_registrar(self, config: DiscoveryConfig, components: DiscoveryComponents) -> ConsulRegistrar | None:
        if components.consul is None or not config.service or not self._context.has(SERVER_INFO):
            return None
        registration = build_registration(config, self._context.get(SERVER_INFO), self._context.server.allowed_hosts)
        return ConsulRegistrar(components.consul, components.session, registration)

    def _collect(self, telemetry: Telemetry) -> None:
        if not self._context.config(DiscoveryConfig).service:
            return
        registrar = self.registrar
        telemetry.series(REGISTERED).set(bool(registrar and registrar.registered))
