"""Keep one instance registered in Consul, while it is ready, by one of its workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from scalekit_discovery.consul.client import ConsulClient, UnknownConsulService
from scalekit_discovery.consul.worker_lock import WorkerLock
from scalekit_discovery.sources import SourceError

logger = logging.getLogger("scalekit.discovery")

LOOK = 0.5
"""Seconds between two tries to take over, and between two looks whether this instance is ready yet."""
RECALL = 2.0
"""Seconds between two questions whether Consul still knows it."""
PROBE = aiohttp.ClientTimeout(total=2.0)


@dataclass(frozen=True, slots=True)
class ConsulRegistration:
    """What is registered: Consul's *definition*, and the *probe* address that tells whether this process is ready."""

    id: str
    definition: Mapping[str, Any]
    probe: str
    probe_headers: Mapping[str, str]
    ttl: float | None = None

    @property
    def check(self) -> str:
        """The id that Consul gives the only check."""
        return f"service:{self.id}"


class ConsulRegistrar:
    """Registers once ready, again when Consul forgot it, and takes out what ends.

    All workers of an instance have one; whoever holds the lease acts, and the next takes over when it has gone.
    """

    def __init__(self, consul: ConsulClient, session: aiohttp.ClientSession, registration: ConsulRegistration) -> None:
        self.trouble = ""
        self.registered = False
        self._consul = consul
        self._session = session
        self._registration = registration
        self._lease = WorkerLock(registration.id)
        self._changing = asyncio.Lock()
        self._draining = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the background: that Consul is gone keeps nobody from serving."""
        self._task = asyncio.create_task(self._keep(), name="scalekit: registration")

    async def drain(self) -> None:
        """Take the instance out of service at once, while it still serves whoever has not noticed."""
        self._draining = True
        if self._lease.held:
            await self._take_out()

    async def retire(self) -> None:
        """Leave the instance to the other workers, who go on serving."""
        await self._end_task()
        self._lease.give_back()

    async def stop(self) -> None:
        """Deregister, if it is on us, and end."""
        await self._end_task()
        if self._lease.held:
            try:
                async with self._changing:
                    await self._consul.deregister(self._registration.id)
            except SourceError as error:
                logger.warning("%s was not deregistered: %s", self._registration.id, error)
        self.registered = False
        self._lease.give_back()

    async def _end_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep(self) -> None:
        while not self._take_lease():  # noqa: ASYNC110 - another process gives it back, and tells nobody
            await asyncio.sleep(LOOK)
        if self._draining:
            await self._take_out()
            return
        while not await self._is_ready():  # noqa: ASYNC110 - seen from outside, as Consul will
            await asyncio.sleep(LOOK)
        await self._step(self._register)
        while not self._draining:
            await asyncio.sleep(min(RECALL, (self._registration.ttl or RECALL) / 3) if self.registered else LOOK)
            await self._step(self._look_after)

    def _take_lease(self) -> bool:
        try:
            return self._lease.take()
        except OSError as error:
            self._note(f"no lock to agree with the other workers on who registers: {error.strerror}")
            return False

    async def _step(self, step: Any) -> None:
        try:
            async with self._changing:
                if not self._draining:
                    await step()
        except SourceError as error:
            self._note(str(error))
        else:
            self._note("")

    async def _register(self) -> None:
        await self._consul.register(self._registration.definition)
        await self._consul.maintain(self._registration.id, enable=False)
        logger.info("registered as %s", self._registration.id)
        self.registered = True

    async def _look_after(self) -> None:
        if not self.registered or not await self._consul.has(self._registration.id):
            if await self._is_ready():
                await self._register()
        elif self._registration.ttl is not None:
            try:
                await self._consul.tell(self._registration.check, await self._is_ready())
            except UnknownConsulService:
                self.registered = False

    async def _take_out(self) -> None:
        async with self._changing:
            try:
                await self._consul.maintain(self._registration.id, enable=True, reason="draining")
            except UnknownConsulService:
                pass
            except SourceError as error:
                logger.warning("%s was not taken out of service: %s", self._registration.id, error)

    async def _is_ready(self) -> bool:
        """Tell whether this instance answers as Consul will ask it."""
        registration = self._registration
        try:
            async with self._session.get(
                registration.probe, headers=registration.probe_headers, timeout=PROBE
            ) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _note(self, trouble: str) -> None:
        if trouble and not self.trouble:
            logger.warning("not registered for now: %s", trouble)
        self.trouble = trouble
