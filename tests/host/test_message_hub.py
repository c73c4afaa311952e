"""The hub stores the last messages of channels within its bounds, and passes new ones to members."""

from __future__ import annotations

import pytest

from scalekit.message_hub import HubLimits, HubMessage, MessageHub


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(clock: Clock) -> MessageHub:
    return MessageHub(clock)


def bodies(hub: MessageHub, channel: str = "a") -> list[bytes]:
    return [message.body for message in hub.history(channel)]


def test_ids_count_the_messages_of_each_channel(hub: MessageHub, clock: Clock) -> None:
    assert [hub.publish("a", b"1"), hub.publish("a", b"2")] == ["1000000-1", "1000000-2"]
    clock.now = 900.0  # a clock that is set back
    assert hub.publish("a", b"3") == "1000000-3"
    assert hub.publish("b", b"1") == "1000001-1"


def test_members_receive_messages_of_joined_channels_only(hub: MessageHub) -> None:
    received: list[tuple[str, HubMessage]] = []

    def member(channel: str, message: HubMessage) -> None:
        received.append((channel, message))

    hub.join("a", member)
    hub.join("a", member)
    hub.join("b", member)
    message_id = hub.publish("a", b"1")
    hub.publish("c", b"2")
    hub.leave("a", member)
    hub.publish("a", b"3")
    hub.leave_all(member)
    hub.publish("b", b"4")
    hub.leave("b", member)
    assert received == [("a", HubMessage(message_id, b"1"))]


def test_a_channel_keeps_its_last_messages(hub: MessageHub) -> None:
    hub.limits = HubLimits(history=2)
    for number in range(5):
        hub.publish("a", b"%d" % number)
    assert bodies(hub) == [b"3", b"4"]
    assert hub.history("unknown") == []


def test_a_history_expires_after_its_last_message(hub: MessageHub, clock: Clock) -> None:
    hub.limits = HubLimits(ttl=10)
    hub.publish("a", b"1")
    clock.now += 8
    hub.publish("a", b"2")
    clock.now += 8
    assert bodies(hub) == [b"1", b"2"]
    clock.now += 3
    assert bodies(hub) == []
    assert hub.publish("a", b"3").endswith("-1")
    assert bodies(hub) == [b"3"]


def test_the_number_of_channels_is_bounded(hub: MessageHub) -> None:
    hub.limits = HubLimits(channels=3)
    for name in "abcadeb":
        hub.publish(name, b"1")
    assert [len(bodies(hub, name)) for name in "abcde"] == [0, 1, 0, 1, 1]


def test_the_size_of_all_histories_is_bounded(hub: MessageHub) -> None:
    hub.limits = HubLimits(size=10_000)
    for number in range(100):
        hub.publish(f"channel {number % 7}", b"x" * 1000)
        assert hub.size <= 10_000
    hub.publish("a", b"x" * 20_000)  # one message is kept, whatever its size
    assert [len(body) for body in bodies(hub)] == [20_000]
    for _ in range(50):
        hub.publish("a", b"x" * 100)
    assert hub.size <= 10_000
    assert len(bodies(hub)) > 10


def test_an_expired_channel_starts_again_with_another_id(hub: MessageHub, clock: Clock) -> None:
    hub.limits = HubLimits(ttl=0.0001)
    first = hub.publish("a", b"1")
    clock.now += 0.0002
    hub.publish("b", b"1")
    assert hub.publish("a", b"1") != first
