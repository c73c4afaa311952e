"""The directory of services, which applications get as ``SERVICES``."""

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

MAX_SERVICES = 256
"""Maximum number of services that one process watches; names come from code, so more of them are a mistake."""


class ServiceDirectory:
    """The services that *source* knows; each is watched from its first use."""

    def __init__(
        self,
        config: DiscoveryConfig,
        source: Source,
        session: aiohttp.ClientSession,
        telemetry: Telemetry,
        balancer_type: type[LoadBalancer] = LoadBalancer,
    ) -> None:
        self.own = config.service
        self.source = source
        self._config = config
        self._session = session
        self._telemetry = telemetry
        self._balancer_type = balancer_type
        self._cache = InstanceCache(config.cache_dir)
        self._clients: dict[str, UpstreamClient] = {}
        self.upstreams: dict[str, Upstream] = {}
        """The services that have been used, by name."""

    def client(self, name: str) -> UpstreamClient:
        """Return the client of the service *name*; raise ValueError for more than MAX_SERVICES names."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = UpstreamClient(self._upstream(name))
        return client

    async def instances(self, name: str) -> tuple[ServiceInstance, ...]:
        """Return the healthy instances of *name*, or the last known ones while the source is unavailable."""
        watcher = self._upstream(name).watcher
        await watcher.wait_resolved(self._config.initial_timeout)
        return watcher.instances

    def watch(self, name: str) -> AsyncIterator[tuple[ServiceInstance, ...]]:
        """Yield the healthy instances of *name*, and again after each change."""
        return self._upstream(name).watcher.changes()

    def source_errors(self) -> list[str]:
        """Return the current errors of the source."""
        watchers = (upstream.watcher for upstream in self.upstreams.values())
        return sorted({watcher.last_error for watcher in watchers if watcher.last_error})

    async def stop(self) -> None:
        """Stop watching all services."""
        await asyncio.gather(*(upstream.watcher.stop() for upstream in self.upstreams.values()))

    def _upstream(self, name: str) -> Upstream:
        upstream = self.upstreams.get(name)
        if upstream is None:
            if len(self.upstreams) >= MAX_SERVICES:
                raise ValueError(
                    f"{name!r} would be service number {MAX_SERVICES + 1}; take names from code, not from requests"
                )
            upstream = self.upstreams[name] = self._new_upstream(name)
        return upstream

    def _new_upstream(self, name: str) -> Upstream:
        config = self._config
        metrics = ServiceMetrics(self._telemetry, name)
        balancer = self._balancer_type(name, config.consecutive_failures, config.ejection_time, metrics)
        return Upstream(
            name=name,
            session=self._session,
            watcher=ServiceWatcher(name, self.source, self._cache, metrics, balancer.update),
            load_balancer=balancer,
            budget=RetryBudget(config.retry_budget, monotonic()),
            metrics=metrics,
            max_retries=config.max_retries,
            timeout=config.timeout,
            attempt_timeout=config.attempt_timeout,
            initial_timeout=config.initial_timeout,
            source=self.source.name,
        )
