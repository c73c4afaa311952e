"""A lease that a process has in a shared store."""

from __future__ import annotations

import asyncio

from scalekit_caching.shared_store import LeaseName, SharedStore


class StoreLease:
    """A *lease* that *token* has of *frames*."""

    __slots__ = ("_ending", "_frames", "lease", "token")

    def __init__(self, frames: SharedStore, lease: LeaseName, token: bytes) -> None:
        self._frames = frames
        self.lease = lease
        self.token = token
        self._ending: asyncio.Future[None] | None = None

    def end_with(self, frame: bytes, seconds: float) -> asyncio.Future[None]:
        """Begin to keep *frame*, which was made, for so many *seconds*, and to end it in the same step."""
        self._ending = self._frames.start_put_and_release(self.lease, self.token, frame, seconds)
        return self._ending

    def release(self, after: asyncio.Future[None] | None = None) -> None:
        """End it, once *after*, which keeps what was made, is done: the next to have it finds that."""
        if self._ending is not None:
            self._ending.add_done_callback(self._end_where_it_failed)
        elif after is None or after.done():
            self._frames.release(self.lease, self.token)
        else:
            after.add_done_callback(lambda done: self._frames.release(self.lease, self.token))

    def _end_where_it_failed(self, write: asyncio.Future[None]) -> None:
        if write.cancelled() or write.exception() is not None:
            self._frames.release(self.lease, self.token)
