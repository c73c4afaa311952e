"""What a request that changes something makes wrong of what is kept (RFC 9111, section 4.4)."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from starlette.types import Message, Scope, Send

from scalekit_cache.http_cache import HttpCache
from scalekit_cache.locating import Resource, resource_of
from scalekit_cache.storing import fields_of

ELSEWHERE = frozenset({b"location", b"content-location"})


class InvalidationSender:
    """The sending side of a request that changes something: what is kept of it is forgotten when that succeeds."""

    def __init__(self, cache: HttpCache, scope: Scope, send: Send) -> None:
        self.cache = cache
        self.scheme = scope["scheme"]
        # Before the application has it: mounts make root_path longer in the scope itself.
        self.location = resource_of(cache, scope, fields_of(scope["headers"]))
        self._send = send

    async def send(self, message: Message) -> None:
        """Forget before the client learns that something has changed."""
        if message["type"] == "http.response.start" and 200 <= message["status"] < 400:
            await self.cache.forget(list(self._locations(message)))
        await self._send(message)

    def _locations(self, message: Message) -> Iterator[Resource]:
        location = self.location
        yield location
        own = f"{self.scheme}://{location.host.decode('latin-1')}{location.raw_path.decode('latin-1')}"
        for name, value in message.get("headers", ()):
            if name.lower() in ELSEWHERE:
                try:
                    target = urlsplit(urljoin(own, value.decode("latin-1")))
                except ValueError:
                    continue
                if target.netloc.lower() == location.host.decode("latin-1").lower():  # others are none of its business
                    path, query = target.path or "/", target.query
                    yield location.beside(self.cache, path.encode("latin-1"), query.encode("latin-1"))
