"""Other services, as applications find and call them; :mod:`scalekit.contracts` has these names too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from scalekit.context import Key


class Instance(Protocol):
    """One instance of a service."""

    @property
    def id(self) -> str:
        """Its unique id within the service."""
        ...

    @property
    def address(self) -> str:
        """Its IP address or host name."""
        ...

    @property
    def port(self) -> int:
        """Its port."""
        ...

    @property
    def url(self) -> str:
        """Its address without a path, such as ``http://10.0.0.5:8000``."""
        ...

    @property
    def tags(self) -> Sequence[str]:
        """The tags that it is registered with."""
        ...

    @property
    def meta(self) -> Mapping[str, str]:
        """What else is known of it."""
        ...

    @property
    def weight(self) -> int:
        """Its share of calls beside the others."""
        ...


class ServiceClient(Protocol):
    """The requests of an aiohttp session, to paths of one service; options are aiohttp's.

    ``async with client.get("/stock/1") as response:`` or ``await client.get("/stock/1")``. *timeout* is seconds for the
    call with all its attempts. Raises Unavailable, which is an aiohttp.ClientError too, when no instance answers.
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
        """Send a POST, which is retried only if it was not sent."""
        ...

    def put(self, path: str, **options: Any) -> Any:
        """Send a PUT."""
        ...

    def patch(self, path: str, **options: Any) -> Any:
        """Send a PATCH, which is retried only if it was not sent."""
        ...

    def delete(self, path: str, **options: Any) -> Any:
        """Send a DELETE."""
        ...


class Services(Protocol):
    """Other services, by name."""

    @property
    def own(self) -> str:
        """The name under which others find this service; empty when they do not."""
        ...

    def client(self, name: str) -> ServiceClient:
        """Return what calls the service *name*, each time at one of its healthy instances."""
        ...

    async def instances(self, name: str) -> Sequence[Instance]:
        """Return the healthy instances of *name*, the last known ones while the registry is unavailable."""
        ...

    def watch(self, name: str) -> AsyncIterator[Sequence[Instance]]:
        """Yield the healthy instances of *name*, and again whenever they change."""
        ...


SERVICES: Key[Services] = Key("services", plugin="discovery")
"""Other services, found and called by name."""
