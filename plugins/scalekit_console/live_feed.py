"""Server-sent events of live pages: one rendering a second for all streams of a page, and none without a stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

logger = logging.getLogger("scalekit.console")

INTERVAL = 1.0
"""Seconds between two events."""
MAX_STREAMS = 16
"""Streams of a worker, of all pages together."""

MAX_DURATION = 300.0
"""Seconds after which a stream ends, so that its client connects again and is authorized again."""

Render = Callable[[], Awaitable[str]]


class LiveFeeds:
    """The streams of this worker; all of them end when the process drains."""

    def __init__(self, max_duration: float = MAX_DURATION) -> None:
        self.streams = 0
        self._max_duration = max_duration
        self._draining = False
        self._feeds: dict[str, _Feed] = {}

    @property
    def full(self) -> bool:
        """Whether no stream can be added."""
        return self._draining or self.streams >= MAX_STREAMS

    async def events(self, name: str, render: Render) -> AsyncIterator[bytes]:
        """Yield the markup of *render* as events; streams of the same *name* share one rendering."""
        self.streams += 1
        if name not in self._feeds:
            self._feeds[name] = _Feed(render)
        feed = self._feeds[name]
        feed.streams += 1
        try:
            yield b"retry: 3000\n\n"
            end = asyncio.get_running_loop().time() + self._max_duration
            while asyncio.get_running_loop().time() < end and (event := await feed.next_event()) is not None:
                yield event
        finally:
            self.streams -= 1
            feed.streams -= 1
            if not feed.streams:
                feed.close()
                del self._feeds[name]

    def drain(self) -> None:
        """End all streams."""
        self._draining = True
        for feed in self._feeds.values():
            feed.close()

    def resume(self) -> None:
        """Allow streams again: the application has started."""
        self._draining = False


class _Feed:
    """The events of one page."""

    def __init__(self, render: Render) -> None:
        self.streams = 0
        self._render = render
        self._next: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._closed = False
        self._task = asyncio.create_task(self._run())

    async def next_event(self) -> bytes | None:
        """Return the next event, or None when there are no more."""
        return None if self._closed else await asyncio.shield(self._next)

    def close(self) -> None:
        """End the streams."""
        self._closed = True
        self._task.cancel()
        if not self._next.done():
            self._next.set_result(None)

    async def _run(self) -> None:
        while True:
            try:
                event = _event(await self._render())
            except Exception:
                logger.exception("a live page could not be rendered")
                event = b": failed\n\n"
            current, self._next = self._next, asyncio.get_running_loop().create_future()
            current.set_result(event)
            await asyncio.sleep(INTERVAL)


def _event(markup: str) -> bytes:
    return b"".join(b"data: %b\n" % line.encode() for line in markup.splitlines()) + b"\n"
