"""Invalidate stored responses after a successful unsafe request (RFC 9111, section 4.4)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from starlette.types import Message, Scope, Send

from scalekit_cache.http_cache import HttpCache
from scalekit_cache.keys import Resource, resource_of
from scalekit_cache.storability import fields_of

LOCATION_FIELDS = frozenset({b"location", b"content-location"})


class InvalidationSender:
    """Wraps *send* of an unsafe request, and invalidates its resource when the response is successful."""

    def __init__(self, cache: HttpCache, scope: Scope, send: Send) -> None:
        self.cache = cache
        self.scheme = scope["scheme"]
        # Computed before the application is called, because mounts extend root_path in the same scope.
        self.resource = resource_of(cache.policies, cache.options.sort_query, scope, fields_of(scope["headers"]))
        self._send = send

    async def send(self, message: Message) -> None:
        """Invalidate before the client gets the start of the response."""
        if message["type"] == "http.response.start" and 200 <= message["status"] < 400:
            await self.cache.invalidate(list(self._resources(message)))
        await self._send(message)

    def _resources(self, message: Message) -> Iterator[Resource]:
        resource, cache = self.resource, self.cache
        yield resource
        host = resource.host.decode("latin-1")
        url = f"{self.scheme}://{host}{resource.raw_path.decode('latin-1')}"
        for name, value in message.get("headers", ()):
            if name.lower() in LOCATION_FIELDS:
                try:
                    target = urlsplit(urljoin(url, value.decode("latin-1")))
                except ValueError:
                    continue
                if target.netloc.lower() == host.lower():  # RFC 9111 forbids to invalidate those of another origin
                    path, query = (target.path or "/").encode("latin-1"), target.query.encode("latin-1")
                    yield resource.sibling(cache.policies, cache.options.sort_query, path, query)
