"""Follow a service: the instances that it has now, as far as anybody knows."""

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

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0

OnChange = Callable[[Sequence[ServiceInstance]], None]


class ServiceWatcher:
    """The service *name* as *source* reports it.

    While the source is gone the last known instances stay; at a start without it they are those that were kept.
    """

    def __init__(
        self, name: str, source: Source, keeper: InstanceCache, metrics: ServiceMetrics, on_change: OnChange
    ) -> None:
        self.name = name
        self.instances: tuple[ServiceInstance, ...] = ()
        self.known = False
        self.trouble = ""
        self._source = source
        self._keeper = keeper
        self._metrics = metrics
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._follow(), name=f"scalekit: discovery of {name}")

    async def stop(self) -> None:
        """Follow no longer."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def wait_until_known(self, limit: float) -> bool:
        """Wait until the instances are known, even if there are none; tell whether they are within *limit* seconds."""
        try:
            async with asyncio.timeout(limit):
                while not self.known:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def changes(self) -> AsyncGenerator[tuple[ServiceInstance, ...], None]:
        """Yield the instances, and again whenever they have changed; one that is slow misses those between."""
        seen: tuple[ServiceInstance, ...] | None = None
        while True:
            changed = self._changed
            if self.known and self.instances != seen:
                seen = self.instances
                yield seen
            else:
                await changed.wait()

    async def _follow(self) -> None:
        delay = FIRST_DELAY
        while True:
            try:
                await self._source.follow(self.name, self._report)
            except SourceError as error:
                delay = FIRST_DELAY if not self.trouble else min(delay * 2, LONGEST_DELAY)
                self._do_without(str(error))
            except Exception:
                logger.exception("following %r failed", self.name)
                self._do_without("it failed; the log says how")
                delay = LONGEST_DELAY
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    def _report(self, instances: Sequence[ServiceInstance]) -> None:
        if self.trouble:
            logger.info("%s answers again about %r", self._source.place, self.name)
        self.trouble = ""
        self._metrics.fresh.set(1)
        found = tuple(sorted(instances, key=lambda instance: instance.id))
        if not self.known or found != self.instances:
            self._set(found)
            if self._source.remembered and found:
                self._keeper.keep(self.name, found)

    def _do_without(self, trouble: str) -> None:
        if not self.trouble:
            logger.warning("%s; the last known instances of %r are used", trouble, self.name)
        self.trouble = trouble
        self._metrics.fresh.set(0)
        if not self.known and (kept := self._keeper.kept(self.name)):
            self._set(kept)

    def _set(self, instances: tuple[ServiceInstance, ...]) -> None:
        self.instances = instances
        self.known = True
        self._metrics.instances.set(len(instances))
        self._on_change(instances)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
