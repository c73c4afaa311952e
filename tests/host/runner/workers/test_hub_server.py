"""The hub of the supervisor and its clients in workers, over frames: a slow worker is skipped and told so."""

from __future__ import annotations

import asyncio

import pytest

from scalekit import Unavailable
from scalekit.message_hub import HubLimits, HubMessage, WorkerHub
from scalekit.runner.workers import supervisor_hub
from scalekit.runner.workers.hub_frames import MAX_HISTORY_SIZE, encode_frame
from scalekit.runner.workers.hub_server import MAX_BACKLOG, HubServer
from scalekit.runner.workers.supervisor_hub import MAX_UNSENT_SIZE, SupervisorHub

pytestmark = pytest.mark.anyio


class Worker:
    """A worker whose frames arrive at once; ``backlog`` is what waits for it as the supervisor sees it."""

    def __init__(self, server: HubServer) -> None:
        self.backlog = 0
        self.unsent = 0
        self.received: list[HubMessage] = []
        self.interruptions = 0
        self.answers = True
        hub = WorkerHub()
        hub.on_message = lambda channel, message: self.received.append(message)
        hub.on_interrupted = self.interrupt
        self.client = SupervisorHub(hub, lambda frame: server.receive(self, frame), lambda: self.unsent)

    def interrupt(self) -> None:
        self.interruptions += 1

    def send_hub_frame(self, frame: bytes) -> None:
        if self.answers:
            asyncio.get_running_loop().call_soon(self.client.receive, frame)

    async def bodies(self) -> list[bytes]:
        await asyncio.sleep(0)
        return [message.body for message in self.received]


@pytest.fixture
def server() -> HubServer:
    return HubServer()


async def test_messages_of_any_bytes_reach_all_workers_that_joined(server: HubServer) -> None:
    first, second, third = Worker(server), Worker(server), Worker(server)
    channel = 'ä"\n'
    for worker in (first, second):
        await worker.client.join(channel)
    bodies = [b"", b"\n", b"[]\n[]", bytes(range(256))]
    ids = [await third.client.publish(channel, body) for body in bodies]
    assert await first.bodies() == await second.bodies() == bodies
    assert await third.bodies() == []
    assert await third.client.history(channel) == [HubMessage(*each) for each in zip(ids, bodies, strict=True)]
    first.client.leave(channel)
    server.remove(second)
    await third.client.publish(channel, b"later")
    assert await first.bodies() == await second.bodies() == bodies


async def test_the_limits_of_a_worker_apply_to_the_hub(server: HubServer) -> None:
    worker = Worker(server)
    await worker.client.configure(HubLimits(2, 60.0, 1000, 3))
    assert server.hub.limits == HubLimits(2, 60.0, 1000, 3)


async def test_a_worker_that_does_not_read_is_skipped_until_it_is_told_so(server: HubServer) -> None:
    slow, other = Worker(server), Worker(server)
    for worker in (slow, other):
        await worker.client.join("a")
    slow.backlog = MAX_BACKLOG + 1
    await other.client.publish("a", b"1")
    slow.backlog = 10  # it reads, but not all
    server.resume(slow)
    await other.client.publish("a", b"2")
    assert (await slow.bodies(), slow.interruptions) == ([], 0)
    slow.backlog = 0
    server.resume(slow)
    await other.client.publish("a", b"3")
    assert (await slow.bodies(), slow.interruptions) == ([b"3"], 1)
    server.resume(slow)
    assert await other.bodies() == [b"1", b"2", b"3"]
    assert slow.interruptions == 1


async def test_the_newest_messages_of_a_large_history_fit_into_a_reply(server: HubServer) -> None:
    worker = Worker(server)
    size = MAX_HISTORY_SIZE // 4
    for number in range(6):
        await worker.client.publish("a", b"%d" % number * size)
    assert [message.body[:1] for message in await worker.client.history("a")] == [b"2", b"3", b"4", b"5"]


async def test_a_supervisor_that_does_not_respond_is_unavailable(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_hub, "REQUEST_TIMEOUT", 0.05)
    worker = Worker(server)
    worker.answers = False
    with pytest.raises(Unavailable, match="no reply of the supervisor"):
        await worker.client.publish("a", b"1")
    worker.unsent = MAX_UNSENT_SIZE
    with pytest.raises(Unavailable, match="wait for the supervisor"):
        await worker.client.publish("a", b"1")


@pytest.mark.parametrize("frame", [b"", b"\n", b"{}\n", b"[]\n", b'["unknown"]\n', b'["publish"]\n', b"[1]\n"])
async def test_an_invalid_frame_is_logged(server: HubServer, frame: bytes, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(server)
    server.receive(worker, frame)
    assert "invalid hub frame" in caplog.text
    await worker.client.publish("a", encode_frame("x"))
