from __future__ import annotations

import asyncio

import pytest

from scalekit_console.live_feed import MAX_STREAMS, LiveFeeds

pytestmark = pytest.mark.anyio


class Page:
    def __init__(self) -> None:
        self.rendered = 0

    async def render(self) -> str:
        self.rendered += 1
        if self.rendered == 2:
            raise RuntimeError("a fault")
        return f"<p>{self.rendered}\n</p>"


async def test_streams_share_a_rendering_and_nothing_is_rendered_without_one() -> None:
    before = asyncio.all_tasks()
    feeds, page = LiveFeeds(), Page()
    streams = [feeds.events("overview?", page.render) for _ in range(3)]
    for stream in streams:
        assert await anext(stream) == b"retry: 3000\n\n"
    events = await asyncio.gather(*(anext(stream) for stream in streams))
    assert len(set(events)) == 1
    assert page.rendered == 2
    assert feeds.streams == 3
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined] # a generator
    assert feeds.streams == 0
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_a_page_that_fails_once_is_shown_again() -> None:
    feeds, page = LiveFeeds(), Page()
    stream = feeds.events("overview?", page.render)
    shown = [await anext(stream) for _ in range(4)]
    assert shown[1:] == [b"data: <p>1\ndata: </p>\n\n", b": failed\n\n", b"data: <p>3\ndata: </p>\n\n"]
    feeds.drain()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_streams_are_bounded_and_end_with_the_process() -> None:
    feeds, page = LiveFeeds(), Page()
    streams = [feeds.events(f"overview?{number}", page.render) for number in range(MAX_STREAMS)]
    for stream in streams:
        await anext(stream)
    assert feeds.full
    waiting = [asyncio.ensure_future(anext(stream, None)) for stream in streams]
    feeds.drain()
    await asyncio.gather(*waiting)
    assert [await anext(stream, None) for stream in streams] == [None] * MAX_STREAMS
    assert feeds.streams == 0
    assert feeds.full
    feeds.resume()
    assert not feeds.full


async def test_a_stream_ends_after_its_time() -> None:
    feeds, page = LiveFeeds(max_duration=0.0), Page()
    assert [event async for event in feeds.events("overview?", page.render)] == [b"retry: 3000\n\n"]
    assert feeds.streams == 0
