"""The response to a request that is the application's alone, with a word on why in ``Cache-Status``."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import Message, Send

from scalekit_cache.stored_response import with_status


class BypassSender:
    """The sending side of such a request; *said* is the cache's member of ``Cache-Status``."""

    def __init__(self, said: bytes, send: Send) -> None:
        self._said = said
        self._send = send

    def send(self, message: Message) -> Awaitable[None]:
        """Pass *message* on."""
        if message["type"] == "http.response.start":
            message = {**message, "headers": with_status(list(message.get("headers", ())), self._said)}
        return self._send(message)
