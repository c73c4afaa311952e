"""Server-sent events over a real server, through compression, cache, log and metrics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broadcast.live_service import APPLICATION, event_source, new_client, publish, wait_for_subscribers
from tests.service import Service

pytestmark = pytest.mark.anyio
TOML = """\
[plugins.broadcast]
keep_alive = "200ms"
history = 20
[plugins.cache]
[plugins.compression]
[plugins.logging]
[plugins.metrics]
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(TOML, {"service": APPLICATION}) as service:
        yield service


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
async def test_events_arrive_as_they_are_published(service: Service, channel: str, encoding: str) -> None:
    async with event_source(service, channel, **{"accept-encoding": encoding}) as source:
        headers = source.response.headers
        assert (source.response.status_code, headers["content-type"]) == (200, "text/event-stream")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        for number in range(5):
            message_id = await publish(service, channel, {"ä": number})
            event = await source.next()
            assert event is not None
            assert (event.id, event.event, event.json) == (message_id, "message", {"ä": number})


async def test_a_client_continues_with_its_last_event_id(service: Service, channel: str) -> None:
    async with event_source(service, channel) as source:
        await publish(service, channel, 1)
        assert await source.take(1) == [1]
    await publish(service, channel, 2)
    async with event_source(service, channel, source.last_id) as source:
        await publish(service, channel, 3)
        assert await source.take(2) == [2, 3]


async def test_a_client_without_any_event_continues_where_it_was(service: Service, channel: str) -> None:
    async with event_source(service, channel) as source:
        line = await anext(source._lines)
        assert line.startswith("retry: 2000")
        position = (await anext(source._lines)).removeprefix("id: ")
    await publish(service, channel, 1)
    async with event_source(service, channel, position) as source:
        assert await source.take(1) == [1]


@pytest.mark.parametrize("last_id", ["nonsense", "1-1", "9" * 5000, "é"])
async def test_a_gap_precedes_after_an_unknown_id(service: Service, channel: str, last_id: str) -> None:
    async with event_source(service, channel, last_id) as source:
        gap = await source.next()
        assert gap is not None
        assert (gap.event, int(gap.data) >= 1) == ("gap", True)
        await publish(service, channel, 1)
        event = await source.next()
        assert event is not None
        assert (event.event, event.json) == ("message", 1)


async def test_an_idle_stream_has_comments(service: Service, channel: str) -> None:
    async with event_source(service, channel) as source:
        lines = [await anext(source._lines) for _ in range(8)]
        assert lines.count(":") >= 2


async def test_a_client_that_disconnects_is_released(service: Service, channel: str) -> None:
    async with event_source(service, channel), event_source(service, channel):
        await wait_for_subscribers(service, [2, 1])
    await wait_for_subscribers(service, [0, 0])


async def test_a_head_request_has_no_stream(service: Service, channel: str) -> None:
    async with new_client() as client:
        response = await client.head(f"{service.url}/live/{channel}")
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        assert response.content == b""


async def test_an_endless_stream_does_not_hold_up_the_drain(channel: str) -> None:
    toml = '[server]\ngraceful_timeout = "60s"\ndrain_delay = "0s"\n[plugins.broadcast]\n'
    with Service(toml, {"service": APPLICATION}) as service:
        async with event_source(service, channel) as source:
            await publish(service, channel, 1)
            assert await source.take(1) == [1]
            service.process.terminate()
            assert await source.next() is None
        assert service.wait() == 0
        assert "all requests completed" in service.log()


async def test_a_path_that_names_no_channel_is_not_found(service: Service) -> None:
    async with new_client() as client:
        for method in ("GET", "HEAD"):
            assert (await client.request(method, f"{service.url}/live/{'x' * 201}")).status_code == 404
