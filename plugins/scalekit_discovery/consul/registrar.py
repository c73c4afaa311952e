"""Register this instance in Consul once it is ready, keep it registered, and deregister it at shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import aiohttp

from scalekit_discovery.consul.client import ConsulClient, UnknownConsulService
from scalekit_discovery.consul.registration import ConsulRegistration
from scalekit_discovery.consul.worker_lock import WorkerLock
from scalekit_discovery.sources import SourceError

logger = logging.getLogger("scalekit.discovery")

POLL_INTERVAL = 0.5
"""Seconds between two attempts to acquire the lock, and between two readiness checks."""
VERIFY_INTERVAL = 2.0
"""Seconds between two checks whether Consul still has the registration."""
READINESS_TIMEOUT = aiohttp.ClientTimeout(total=2.0)


class ConsulRegistrar:
    """Keeps one instance registered.

    Every worker of the instance has a registrar. The one that holds the lock acts; another takes over when it exits.
    """

    def __init__(self, consul: ConsulClient, session: aiohttp.ClientSession, registration: ConsulRegistration) -> None:
        self.last_error = ""
        self.registered = False
        self._consul = consul
        self._session = session
        self.registration = registration
        self._lock = WorkerLock(registration.id)
        self._changing = asyncio.Lock()
        self._draining = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to register in the background; the process serves while Consul is unavailable."""
        self._task = asyncio.create_task(self._run(), name="scalekit: registration")

    async def drain(self) -> None:
        """Put the instance into maintenance mode, so that clients stop calling it while it still serves."""
        self._draining = True
        if self._lock.acquired:
            await self._enter_maintenance()

    async def hand_over(self) -> None:
        """Leave the registration to the other workers, which continue to serve."""
        await self._end_task()
        self._lock.release()

    async def stop(self) -> None:
        """Deregister the instance when this worker holds the lock, and stop."""
        await self._end_task()
        if self._lock.acquired:
            try:
                async with self._changing:
                    await self._consul.deregister(self.registration.id)
            except SourceError as error:
                logger.warning("instance %s could not be deregistered: %s", self.registration.id, error)
        self.registered = False
        self._lock.release()

    async def _end_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while not self._acquire_lock():  # noqa: ASYNC110 - another process releases it
            await asyncio.sleep(POLL_INTERVAL)
        if self._draining:
            await self._enter_maintenance()
            return
        while not await self._is_ready():  # noqa: ASYNC110 - checked from outside, as Consul does
            await asyncio.sleep(POLL_INTERVAL)
        await self._run_step(self._register)
        while not self._draining:
            interval = min(VERIFY_INTERVAL, (self.registration.ttl or VERIFY_INTERVAL) / 3)
            await asyncio.sleep(interval if self.registered else POLL_INTERVAL)
            await self._run_step(self._verify)

    def _acquire_lock(self) -> bool:
        try:
            return self._lock.acquire()
        except OSError as error:
            self._record_error(f"the lock of the registering worker cannot be opened: {error.strerror}")
            return False

    async def _run_step(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._changing:
                if not self._draining:
                    await step()
        except SourceError as error:
            self._record_error(str(error))
        else:
            self._record_error("")

    async def _register(self) -> None:
        await self._consul.register(self.registration.definition)
        await self._consul.set_maintenance(self.registration.id, enable=False)
        logger.info("registered as %s", self.registration.id)
        self.registered = True

    async def _verify(self) -> None:
        if not self.registered or not await self._consul.is_registered(self.registration.id):
            if await self._is_ready():
                await self._register()
        elif self.registration.ttl is not None:
            try:
                await self._consul.update_check(self.registration.check_id, passing=await self._is_ready())
            except UnknownConsulService:
                self.registered = False

    async def _enter_maintenance(self) -> None:
        async with self._changing:
            try:
                await self._consul.set_maintenance(self.registration.id, enable=True, reason="draining")
            except UnknownConsulService:
                pass
            except SourceError as error:
                logger.warning("instance %s could not enter maintenance mode: %s", self.registration.id, error)

    async def _is_ready(self) -> bool:
        """Return whether the readiness URL responds with 200, as Consul's check will see it."""
        registration = self.registration
        try:
            async with self._session.get(
                registration.readiness_url,
                headers=registration.readiness_headers,
                timeout=READINESS_TIMEOUT,
                ssl=False,  # this instance itself, by its address, which its certificate does not name
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _record_error(self, error: str) -> None:
        if error and not self.last_error:
            logger.warning("instance is not registered, retrying: %s", error)
        self.last_error = error
