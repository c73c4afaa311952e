"""What applications get under ``SERVICES``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import aiohttp

from scalekit.telemetry import Telemetry
from scalekit_discovery.client import UpstreamClient
from scalekit_discovery.config import DiscoveryConfig
from scalekit_discovery.instance_cache import InstanceCache
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.load_balancer import LoadBalancer
from scalekit_discovery.metrics import ServiceMetrics
from scalekit_discovery.retry_budget import RetryBudget
from scalekit_discovery.sources import Source
from scalekit_discovery.upstream import Upstream
from scalekit_discovery.watcher import ServiceWatcher

MOST = 256
"""How many services one process follows; their names come from code, so that more of them are a mistake."""


class ServiceDirectory:
    """The services that *source* knows. A service is followed from the first time that it is asked for."""

    def __init__(
        self, config: DiscoveryConfig, source: Source, session: aiohttp.ClientSession, telemetry: Telemetry
    ) -> None:
        self.own = config.service
        self.source = source
        self._config = config
        self._session = session
        self._telemetry = telemetry
        self._keeper = InstanceCache(config.keep)
        self._clients: dict[str, UpstreamClient] = {}
        self._services: dict[str, Upstream] = {}

    def client(self, name: str) -> UpstreamClient:
        """Return what calls the service *name*; raises ValueError when far too many names are asked for."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = UpstreamClient(self._service(name))
        return client

    async def instances(self, name: str) -> tuple[ServiceInstance, ...]:
        """Return the healthy instances of *name*, the last known ones while the source is gone."""
        watch = self._service(name).watch
        await watch.wait_until_known(self._config.first_wait)
        return watch.instances

    def watch(self, name: str) -> AsyncIterator[tuple[ServiceInstance, ...]]:
        """Yield the healthy instances of *name*, and again whenever they change."""
        return self._service(name).watch.changes()

    def troubles(self) -> list[str]:
        """Return what is wrong with the source now."""
        return sorted({service.watch.trouble for service in self._services.values() if service.watch.trouble})

    async def stop(self) -> None:
        """Follow nothing any more."""
        await asyncio.gather(*(service.watch.stop() for service in self._services.values()))

    def _service(self, name: str) -> Upstream:
        service = self._services.get(name)
        if service is None:
            if len(self._services) >= MOST:
                raise ValueError(
                    f"{name!r} would be service number {MOST + 1}; names come from code, not from requests"
                )
            service = self._services[name] = self._new(name)
        return service

    def _new(self, name: str) -> Upstream:
        config = self._config
        metrics = ServiceMetrics(self._telemetry, name)
        targets = LoadBalancer(name, config.failures, config.ejection, metrics)
        return Upstream(
            name=name,
            session=self._session,
            watch=ServiceWatcher(name, self.source, self._keeper, metrics, targets.update),
            targets=targets,
            budget=RetryBudget(config.retry_budget, monotonic()),
            metrics=metrics,
            retries=config.retries,
            timeout=config.timeout,
            attempt_timeout=config.attempt_timeout,
            first_wait=config.first_wait,
            place=self.source.place,
        )
