"""A broadcaster over a transport that is interrupted, fails or never replies."""

from __future__ import annotations

import asyncio

import pytest

from scalekit import Unavailable
from scalekit.telemetry import NullTelemetry
from scalekit_broadcast.broadcaster import Broadcaster, BroadcastLimits
from scalekit_broadcast.metrics import BroadcastMetrics
from scalekit_broadcast.transport import StoredMessage
from tests.broadcast.conftest import data_of
from tests.lib.redis.poll import until

pytestmark = pytest.mark.anyio
LIMITS = BroadcastLimits(
    history=10,
    history_ttl=3600.0,
    max_message_size=1000,
    max_channels=10,
    max_subscribers=10,
    subscribe_timeout=0.2,
    disconnect_slow=False,
)


class ScriptedTransport:
    """A transport whose history a test sets; ``reading`` blocks the reply, ``error`` is raised instead of it."""

    def __init__(self) -> None:
        self.messages: list[StoredMessage] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.reads = 0
        self.error: Exception | None = None
        self.joined: list[str] = []

    async def publish(self, channel: str, json: bytes) -> str:
        self.messages.append(StoredMessage(f"1-{len(self.messages) + 1}", json))
        return self.messages[-1].id

    async def join(self, channel: str) -> None:
        self.joined.append(channel)

    def leave(self, channel: str) -> None:
        self.joined = [each for each in self.joined if each != channel]

    async def history(self, channel: str) -> list[StoredMessage]:
        self.reads += 1
        messages = list(self.messages)
        await self.reading.wait()
        if self.error is not None:
            raise self.error
        return messages

    async def check_health(self) -> None: ...


@pytest.fixture
async def transport() -> ScriptedTransport:
    return ScriptedTransport()


@pytest.fixture
async def broadcaster(transport: ScriptedTransport) -> Broadcaster:
    broadcaster = Broadcaster(LIMITS, BroadcastMetrics(NullTelemetry()))
    broadcaster.use(transport)
    return broadcaster


async def test_an_interruption_while_the_history_is_read_reads_it_again(
    broadcaster: Broadcaster, transport: ScriptedTransport
) -> None:
    async with broadcaster.subscribe("a") as messages:
        transport.reading.clear()
        broadcaster.on_interrupted("a")
        await until("the first read", lambda: transport.reads == 2)
        await broadcaster.publish("a", 1)  # not in the history that was read, and never received
        broadcaster.on_interrupted(None)
        transport.reading.set()
        assert await data_of(messages, 1) == [1]


async def test_a_history_that_cannot_be_read_is_tried_again(
    broadcaster: Broadcaster, transport: ScriptedTransport
) -> None:
    async with broadcaster.subscribe("a") as messages:
        transport.error = Unavailable("gone")
        broadcaster.on_interrupted("a")
        await broadcaster.publish("a", 1)
        await until("attempts", lambda: transport.reads > 3)
        transport.error = None
        assert await data_of(messages, 1) == [1]


@pytest.mark.parametrize("error", [Unavailable("gone"), ValueError("a fault")])
async def test_a_subscription_that_fails_leaves_nothing(
    broadcaster: Broadcaster, transport: ScriptedTransport, error: Exception
) -> None:
    before = asyncio.all_tasks()
    transport.error = error
    with pytest.raises(Unavailable):
        await broadcaster.subscribe("a").__aenter__()
    await until("the end of all tasks", lambda: asyncio.all_tasks() == before)
    assert (broadcaster.count_channels(), transport.joined) == (0, [])


async def test_a_subscription_without_a_reply_times_out(broadcaster: Broadcaster, transport: ScriptedTransport) -> None:
    transport.reading.clear()
    with pytest.raises(Unavailable, match=r"within 0\.2s"):
        await broadcaster.subscribe("a").__aenter__()
    assert (broadcaster.count_channels(), broadcaster.count_subscribers()) == (0, 0)


async def test_waits_that_are_cancelled_do_not_accumulate(broadcaster: Broadcaster) -> None:
    async with broadcaster.subscribe("a") as messages:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(messages)
        (channel,) = broadcaster._channels.values()
        assert channel._waiters == {}
