"""What other clients of the same Redis do to the keys and channels of broadcasts, and what the ACL forbids."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from scalekit import Unavailable
from tests.broadcast.conftest import broadcasts, data_of
from tests.lib.redis.poll import until
from tests.processes import HOST
from tests.servers import Redis
from tests.service import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis() as server:
        yield server


async def test_what_others_publish_to_a_channel_is_ignored(
    server: Redis, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = f"broadcast:{channel}"
    async with broadcasts(server.url) as broadcast, broadcast.subscribe(channel) as messages:
        for nonsense in (r"\255 x", "", "hello", "5-5", r"1-1\nevent: x\n 1"):
            received = server.cli("EVAL", f'return redis.call("SPUBLISH", KEYS[1], "{nonsense}")', 1, key)
            assert received == "1"
        await broadcast.publish(channel, 1)
        assert await data_of(messages, 1) == [1]
    assert "lost" not in caplog.text


async def test_what_others_add_to_a_history_is_ignored(server: Redis, channel: str) -> None:
    server.cli("XADD", f"broadcast:{channel}", "1-1", "name", "value")
    async with broadcasts(server.url) as broadcast:
        await broadcast.publish(channel, 1)
        async with broadcast.subscribe(channel, after="1-0") as messages:
            assert await data_of(messages, 1) == [1]


async def test_a_key_of_another_type_makes_its_channel_unavailable(
    server: Redis, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.cli("SET", f"broadcast:{channel}", "text")
    async with broadcasts(server.url) as broadcast:
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            await broadcast.publish(channel, 1)
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            await broadcast.subscribe(channel).__aenter__()
    assert "Traceback" not in caplog.text


async def test_a_user_without_permissions_can_neither_publish_nor_subscribe(
    server: Redis, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.cli("ACL", "SETUSER", "poor", "on", ">secret", "~*", "+hello", "+ping")
    async with broadcasts(f"redis://poor:secret@{HOST}:{server.port}") as broadcast:
        with pytest.raises(Unavailable, match="NOPERM"):
            await broadcast.publish(channel, 1)
        with pytest.raises(Unavailable, match="NOPERM"):
            await broadcast.subscribe(channel).__aenter__()
    assert "Traceback" not in caplog.text


async def test_the_documented_permissions_suffice(server: Redis, channel: str) -> None:
    readme = (ROOT / "plugins/scalekit_broadcast/README.md").read_text()
    permissions = re.findall(r"`(~broadcast:\* [^`]+)`", readme)[0].split()
    server.cli("ACL", "SETUSER", "app", "on", ">secret", "-@all", *permissions)
    server.cli("SCRIPT", "FLUSH")
    async with broadcasts(f"redis://app:secret@{HOST}:{server.port}") as broadcast:
        first = await broadcast.publish(channel, 1)
        async with broadcast.subscribe(channel, after=first) as messages:
            await broadcast.publish(channel, 2)
            assert await data_of(messages, 1) == [2]
        await broadcast.transport.check_health()  # type: ignore[attr-defined]  # of the plugin's class
        await until("the end of the subscription", lambda: not server.cli("PUBSUB", "SHARDCHANNELS"))
    assert "app" not in server.cli("ACL", "LOG")
