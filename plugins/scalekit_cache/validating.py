"""What the application is asked when the cache asks, instead of a client."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope

from scalekit import TIMEOUT_HEADER
from scalekit_cache.request import CONDITIONS
from scalekit_cache.stored_response import StoredResponse

TIMEOUT = TIMEOUT_HEADER.encode()


def conditional_request(scope: Scope, entry: StoredResponse) -> Scope:
    """Return a copy of *scope* that asks whether *entry* is still right, instead of what the client asks."""
    headers = [field for field in scope["headers"] if field[0] not in CONDITIONS]
    if entry.etag is not None:
        headers.append((b"if-none-match", entry.etag))
    if entry.modified is not None:
        headers.append((b"if-modified-since", entry.modified))
    return {**scope, "headers": headers}


def background_request(scope: Scope, entry: StoredResponse) -> Scope:
    """Return the same for a GET on behalf of nobody: how long the client waits who has caused it is of no account."""
    asked = conditional_request(scope, entry)
    headers = [field for field in asked["headers"] if field[0] != TIMEOUT]
    return {**asked, "method": "GET", "headers": headers, "extensions": {}}


def nobody() -> Receive:
    """Return what a client without a body receives, who stays as long as it takes."""
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return receive
