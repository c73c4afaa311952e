"""What comes of a call: an answer, or that it failed."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from scalekit import Unavailable

FAILURES = (aiohttp.ClientError, TimeoutError, OSError)


class CallFailed(Unavailable, aiohttp.ClientError):
    """No instance of a service answered: a 503 of ours, and an aiohttp error to whoever expects one."""


class UpstreamResponse(aiohttp.ClientResponse):
    """An answer that has begun, and may break off or run out of time before its body has come."""

    on_broken: Callable[[BaseException], None] | None = None
    """Is called with the error when the body does not come."""

    async def read(self) -> bytes:
        """Return the whole body; raises CallFailed when it does not come."""
        try:
            return await super().read()
        except FAILURES as error:
            if self.on_broken is not None:
                self.on_broken(error)
            what = "did not come in time" if isinstance(error, TimeoutError) else f"broke off: {type(error).__name__}"
            raise CallFailed(f"the answer of {self.url.host}:{self.url.port} {what}") from error
