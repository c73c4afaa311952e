"""Sources of instances: the protocol, and the services in the configuration file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from scalekit_discovery.instances import ServiceInstance

Report = Callable[[Sequence[ServiceInstance]], None]


class SourceError(ConnectionError):
    """A source is unavailable or responds with an error; the message contains no secret."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        """*retry_after* is how many seconds the source asks its clients to wait before the next request."""
        super().__init__(message)
        self.retry_after = retry_after


class Source(Protocol):
    """Reports the instances of services."""

    name: str
    """Its name in messages, without secrets."""
    cacheable: bool
    """Whether its instances are cached on disk."""

    async def watch(self, name: str, report: Report) -> None:
        """Report the healthy instances of the service *name*, now and after each change, until cancelled.

        Raises SourceError when the source is unavailable; the caller retries with backoff.
        """
        ...

    async def check(self) -> None:
        """Return when the source is available; raise SourceError when not."""
        ...

    async def names(self) -> list[str]:
        """Return the names of all services that the source can list; raise SourceError when it is unavailable."""
        ...


class StaticSource:
    """The services in the configuration file."""

    name = "the configuration file"
    cacheable = False

    def __init__(self, services: Mapping[str, Sequence[ServiceInstance]]) -> None:
        self._services = services

    async def watch(self, name: str, report: Report) -> None:
        """Report the instances once, none for an unknown name."""
        report(self._services.get(name, ()))
        await asyncio.Event().wait()

    async def check(self) -> None:
        """Return: the file is always available."""

    async def names(self) -> list[str]:
        """Return the names in the file."""
        return list(self._services)


class StaticOverrides:
    """The configuration file for the services that it names, *fallback* for all others."""

    def __init__(self, services: Mapping[str, Sequence[ServiceInstance]], fallback: Source) -> None:
        self.name = fallback.name
        self.cacheable = fallback.cacheable
        self._services = services
        self._static = StaticSource(services)
        self._fallback = fallback

    async def watch(self, name: str, report: Report) -> None:
        """Report the instances from the file or from the fallback."""
        source: Source = self._static if name in self._services else self._fallback
        await source.watch(name, report)

    async def check(self) -> None:
        """Return when the fallback is available; raise SourceError when not."""
        await self._fallback.check()

    async def names(self) -> list[str]:
        """Return the names in the file and those of the fallback."""
        return sorted({*self._services, *await self._fallback.names()})
