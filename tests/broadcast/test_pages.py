"""The page of the broadcasts, over every transport."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from scalekit.contracts import BROADCAST
from scalekit_broadcast import pages
from tests.broadcast.conftest import take
from tests.console.clients import Browser, console_app

pytestmark = pytest.mark.anyio
TOKEN = "hunter2-9f8e7d"


async def blocks(browser: Browser) -> list[dict[str, Any]]:
    response = await browser.get("/-/broadcast.json")
    assert response.status == 200, response.body
    found: list[dict[str, Any]] = orjson.loads(response.body)["blocks"]
    return found


async def channels(browser: Browser) -> list[dict[str, Any]]:
    table = (await blocks(browser))[2]
    names = [column["title"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


async def test_the_page_shows_channels_with_subscribers_messages_and_history(url: str, channel: str) -> None:
    async with console_app({"broadcast": {"url": url, "history": 5}}) as browser:
        broadcast = browser.app.context.get(BROADCAST)
        assert await channels(browser) == []
        hostile = f"{channel}:<b>"
        async with broadcast.subscribe(channel) as first, broadcast.subscribe(channel), broadcast.subscribe(hostile):
            for number in range(3):
                await broadcast.publish(channel, number)
            await take(first, 3)
            shown, other = await channels(browser)
            assert (shown["channel"], shown["worker"], shown["subscribers"]) == (channel, "1", 2)
            assert (shown["published in the last minute"], shown["kept messages"]) == (3, 3)
            assert (shown["size of kept messages"], shown["missed by this worker"]) == (3, 0)
            assert 0 <= shown["since the last message"] < 600
            assert shown["state"]["text"] == "synchronised"
            assert (other["channel"], other["kept messages"], other["since the last message"]) == (hostile, 0, None)
            assert b"<b>" not in (await browser.get("/-/broadcast")).body
            for number in range(7):
                await broadcast.publish(channel, number)
            await take(first, 5)
            assert (await channels(browser))[0]["published in the last minute"] > 5  # estimated: the ring holds 5
        summary, workers, _ = await blocks(browser)
        assert summary["facts"] | {"transport": ""} == {
            "transport": "",
            "state": {"type": "badge", "text": "working", "tone": "good"},
            "subscribers": 0,
            "published since the start": 10,
            "delivered since the start": 8,
        }
        assert workers["rows"][0][0] == "1"


async def test_only_the_channels_with_the_most_subscribers_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_CHANNELS", 1)
    async with console_app({"broadcast": {}}) as browser:
        broadcast = browser.app.context.get(BROADCAST)
        async with broadcast.subscribe("a"), broadcast.subscribe("b"), broadcast.subscribe("b"):
            table = (await blocks(browser))[2]
            assert [row[0] for row in table["rows"]] == ["b"]
            assert table["more"] == 1


async def test_an_unavailable_redis_is_reported_without_its_password() -> None:
    async with console_app({"broadcast": {"url": f"redis://:{TOKEN}@127.0.0.1:1/"}}) as browser:
        summary, workers, _ = await blocks(browser)
        assert TOKEN not in orjson.dumps([summary, workers]).decode()
        assert summary["facts"]["state"]["text"] == "failing"
        assert "127.0.0.1:1" in workers["rows"][0][-1]
