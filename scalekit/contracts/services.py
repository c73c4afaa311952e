"""Contract of service discovery: find and call other services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from scalekit.context import Key


class Instance(Protocol):
    """One instance of a service."""

    @property
    def id(self) -> str:
        """The id of the instance, unique within the service."""
        ...

    @property
    def address(self) -> str:
        """The IP address or host name."""
        ...

    @property
    def port(self) -> int:
        """The port."""
        ...

    @property
    def url(self) -> str:
        """The base URL, such as ``http://10.0.0.5:8000``."""
        ...

    @property
    def tags(self) -> Sequence[str]:
        """The tags of the registration."""
        ...

    @property
    def meta(self) -> Mapping[str, str]:
        """The metadata of the registration."""
        ...

    @property
    def weight(self) -> int:
        """The weight for load balancing; calls are distributed in proportion."""
        ...


class ServiceClient(Protocol):
    """Sends requests to paths of one service; options are those of an aiohttp session.

    ``async with client.get("/stock/1") as response:`` or ``await client.get("/stock/1")``. The option *timeout* is in
    seconds and covers all attempts. Raises Unavailable, also an aiohttp.ClientError, when no instance responds.
    """

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Send a request of any *method*."""
        ...

    def get(self, path: str, **options: Any) -> Any:
        """Send a GET."""
        ...

    def head(self, path: str, **options: Any) -> Any:
        """Send a HEAD."""
        ...

    def options(self, path: str, **options: Any) -> Any:
        """Send an OPTIONS."""
        ...

    def post(self, path: str, **options: Any) -> Any:
        """Send a POST; it is retried only when no byte of it was sent."""
        ...

    def put(self, path: str, **options: Any) -> Any:
        """Send a PUT."""
        ...

    def patch(self, path: str, **options: Any) -> Any:
        """Send a PATCH; it is retried only when no byte of it was sent."""
        ...

    def delete(self, path: str, **options: Any) -> Any:
        """Send a DELETE."""
        ...


class Services(Protocol):
    """Finds other services by name."""

    @property
    def own(self) -> str:
        """The registered name of this service, empty when it is not registered."""
        ...

    def client(self, name: str) -> ServiceClient:
        """Return a client of the service *name*, which sends each request to one healthy instance."""
        ...

    async def instances(self, name: str) -> Sequence[Instance]:
        """Return the healthy instances of *name*, the last known ones while the registry is unavailable."""
        ...

    def watch(self, name: str) -> AsyncIterator[Sequence[Instance]]:
        """Yield the healthy instances of *name*, and again whenever they change."""
        ...


SERVICES: Key[Services] = Key("services", plugin="discovery")
"""Finds and calls other services by name."""
