"""Who knows where services are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from scalekit_discovery.instances import ServiceInstance

Report = Callable[[Sequence[ServiceInstance]], None]


class SourceError(ConnectionError):
    """A source does not answer, or not as it should; the message holds no secret."""


class Source(Protocol):
    """Knows where services are."""

    place: str
    """What it is called in messages, without secrets."""
    remembered: bool
    """Whether what it says is worth keeping for a start without it."""

    async def follow(self, name: str, report: Report) -> None:
        """Report the healthy instances of *name*, now and whenever they change, until cancelled.

        Raises SourceError when it cannot be asked; it is called anew then, after a while.
        """
        ...

    async def check(self) -> None:
        """Return when it answers at all; raises SourceError when it does not."""
        ...


class StaticSource:
    """What the file says."""

    place = "the file"
    remembered = False

    def __init__(self, services: Mapping[str, Sequence[ServiceInstance]]) -> None:
        self._services = services

    async def follow(self, name: str, report: Report) -> None:
        """Report once what never changes; of a name that is not in the file, that there are none."""
        report(self._services.get(name, ()))
        await asyncio.Event().wait()

    async def check(self) -> None:
        """Return: it is there."""


class StaticOverrides:
    """The file for the services that it names, *beyond* for all others."""

    def __init__(self, services: Mapping[str, Sequence[ServiceInstance]], beyond: Source) -> None:
        self.place = beyond.place
        self.remembered = beyond.remembered
        self._services = services
        self._file = StaticSource(services)
        self._beyond = beyond

    async def follow(self, name: str, report: Report) -> None:
        """Report what the responsible source says."""
        source: Source = self._file if name in self._services else self._beyond
        await source.follow(name, report)

    async def check(self) -> None:
        """Return when who knows the others answers; raises SourceError when it does not."""
        await self._beyond.check()
