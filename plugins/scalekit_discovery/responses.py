"""Responses of upstreams, and the errors of calls without one."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from scalekit import Unavailable

FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


class CallFailed(Unavailable, aiohttp.ClientError):
    """No instance of a service responded; becomes a 503, and is an aiohttp error for code that handles those."""


class UpstreamResponse(aiohttp.ClientResponse):
    """A response whose head has arrived, and whose body may still fail or time out."""

    on_body_error: Callable[[BaseException], None] | None = None
    """Called with the error when reading the body fails."""

    async def read(self) -> bytes:
        """Return the body; raise CallFailed when it fails or times out."""
        try:
            return await super().read()
        except FAILURES as error:
            if self.on_body_error is not None:
                self.on_body_error(error)
            cause = "timed out" if isinstance(error, TimeoutError) else f"broke off: {type(error).__name__}"
            raise CallFailed(f"response body of {self.url.host}:{self.url.port} {cause}") from error
