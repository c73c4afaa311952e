"""A lease that a process has in a shared store."""

from __future__ import annotations

import asyncio

from scalekit.caching.frames import Frames, LeaseName


class Held:
    """A *lease* that *token* has of *frames*."""

    __slots__ = ("_frames", "_lease", "_token")

    def __init__(self, frames: Frames, lease: LeaseName, token: bytes) -> None:
        self._frames = frames
        self._lease = lease
        self._token = token

    async def acquire(self, seconds: float) -> tuple[bool, bytes | None]:
        """Tell whether it could be had for so many *seconds*, and return what is there to be made."""
        return await self._frames.acquire(self._lease, self._token, seconds)

    def release(self, after: asyncio.Future[None] | None = None) -> None:
        """End it, once *after*, which keeps what was made, is done: the next to have it finds that."""
        if after is None or after.done():
            self._frames.release(self._lease, self._token)
        else:
            after.add_done_callback(lambda done: self._frames.release(self._lease, self._token))
