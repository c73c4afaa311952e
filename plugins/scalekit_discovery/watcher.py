"""Watch the instances of one service, with backoff while the source is unavailable."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Sequence

from scalekit_discovery.instance_cache import InstanceCache
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.metrics import ServiceMetrics
from scalekit_discovery.sources import Source, SourceError

logger = logging.getLogger("scalekit.discovery")

MIN_BACKOFF = 0.2
MAX_BACKOFF = 10.0

OnChange = Callable[[Sequence[ServiceInstance]], None]


class ServiceWatcher:
    """The instances of the service *name* as *source* reports them.

    While the source is unavailable the last known instances stay in use, at the start those in *cache*.
    """

    def __init__(
        self, name: str, source: Source, cache: InstanceCache, metrics: ServiceMetrics, on_change: OnChange
    ) -> None:
        self.name = name
        self.instances: tuple[ServiceInstance, ...] = ()
        self.resolved = False
        self.last_error = ""
        self._source = source
        self._cache = cache
        self._metrics = metrics
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._watch(), name=f"scalekit: discovery of {name}")

    async def stop(self) -> None:
        """Stop watching."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def wait_resolved(self, timeout: float) -> bool:
        """Wait until the instances are known, even if there are none; return whether they are within *timeout*."""
        try:
            async with asyncio.timeout(timeout):
                while not self.resolved:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def changes(self) -> AsyncGenerator[tuple[ServiceInstance, ...], None]:
        """Yield the instances, and again after each change; a slow consumer skips intermediate changes."""
        seen: tuple[ServiceInstance, ...] | None = None
        while True:
            changed = self._changed
            if self.resolved and self.instances != seen:
                seen = self.instances
                yield seen
            else:
                await changed.wait()

    async def _watch(self) -> None:
        backoff = MIN_BACKOFF
        while True:
            retry_after = 0.0
            try:
                await self._source.watch(self.name, self._report)
            except SourceError as error:
                backoff = MIN_BACKOFF if not self.last_error else min(backoff * 2, MAX_BACKOFF)
                self._on_source_error(str(error))
                retry_after = error.retry_after
            except Exception:
                logger.exception("watching %r failed", self.name)
                self._on_source_error("internal error, see the log")
                backoff = MAX_BACKOFF
            await asyncio.sleep(retry_after + backoff * random.uniform(0.5, 1.0))

    def _report(self, instances: Sequence[ServiceInstance]) -> None:
        if self.last_error:
            logger.info("%s is available again for %r", self._source.name, self.name)
        self.last_error = ""
        self._metrics.source_up.set(1)
        found = tuple(sorted(instances, key=lambda instance: instance.id))
        if not self.resolved or found != self.instances:
            self._update(found)
            if self._source.cacheable and found:
                self._cache.save(self.name, found)

    def _on_source_error(self, error: str) -> None:
        if not self.last_error:
            logger.warning("%s; using the last known instances of %r", error, self.name)
        self.last_error = error
        self._metrics.source_up.set(0)
        if not self.resolved and (cached := self._cache.load(self.name)):
            self._update(cached)

    def _update(self, instances: tuple[ServiceInstance, ...]) -> None:
        self.instances = instances
        self.resolved = True
        self._metrics.instances.set(len(instances))
        self._on_change(instances)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
