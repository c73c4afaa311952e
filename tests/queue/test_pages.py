"""The page of the queues, over both transports."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any

import orjson
import pytest

from scalekit.contracts import QUEUE, Then
from scalekit.contracts.consumers import Consumers
from tests.console.clients import Browser, console_app
from tests.pool.harness import opened
from tests.queue.harness import (
    AnyMessage,
    consumers_target,
    open_queue_admin,
    wait_dead_letters,
    wait_until,
    with_pool,
)

pytestmark = pytest.mark.anyio
SECRET = "hunter2-9f8e7d"
MARKUP = "<script>alert(1)</script>"


def failing_consumers() -> Consumers:
    consumers = Consumers()

    @consumers.on("work", retry=["10ms"])
    async def work(message: AnyMessage) -> None:
        if message.body != "good":
            raise ValueError(f"{MARKUP} password={SECRET}")

    return consumers


@asynccontextmanager
async def queue_console(
    table: dict[str, Any], consumers: Consumers | None = None, **plugins: Any
) -> AsyncGenerator[Browser, None]:
    queue = {**table, **({"consumers": consumers_target(consumers)} if consumers else {})}
    async with console_app({"queue": queue, **with_pool(table, plugins)}) as browser:
        yield browser


async def blocks(browser: Browser, query: str = "") -> list[dict[str, Any]]:
    response = await browser.get(f"/-/queues.json{query}")
    assert response.status == 200, response.body
    found: list[dict[str, Any]] = orjson.loads(response.body)["blocks"]
    return found


def titled(found: list[dict[str, Any]], title: str) -> dict[str, Any]:
    return next(each for each in found if each.get("title") == title)


def rows(found: list[dict[str, Any]], title: str) -> list[dict[str, Any]]:
    table = titled(found, title)
    names = [column["title"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


async def act(browser: Browser, action: str, **values: str) -> dict[str, Any]:
    response = await browser.post_json(f"/-/queues/{action}", values)
    (result,) = orjson.loads(response.body)["results"]
    found: dict[str, Any] = result
    return found


async def publish(browser: Browser, *bodies: object, key: str | None = None, then: Sequence[Then] = ()) -> None:
    queue = browser.app.context.get(QUEUE)
    for body in bodies:
        await queue.publish("work", body, key=key, then=then)


async def test_the_page_shows_depths_rates_and_dead_letters_which_are_replayed_and_deleted(
    table: dict[str, Any],
) -> None:
    body = {"order": 7, "payment": {"card_token": SECRET}, "name": MARKUP}
    async with queue_console(table, failing_consumers()) as browser:
        await publish(browser, "good")
        await publish(browser, body, body, then=[Then("log", body)])
        letters = await wait_dead_letters(table, "work", 2)
        (queue,) = rows(await blocks(browser), "Queues")
        assert queue["queue"]["text"] == "work"
        assert (queue["ready"], queue["dead"], queue["retries"]) == (0, 2, 2)
        assert queue["published in the last minute"] == 3
        assert queue["settled in the last minute"] == 5
        assert queue["handler p95"] > 0

        listed = rows(await blocks(browser, "?queue=work"), "Dead letters")
        assert {row["message"]["text"] for row in listed} == {letter.id for letter in letters}
        assert listed[0]["attempts"] == 2
        assert listed[0]["reason"].startswith("ValueError: <script>")
        first, second = letters
        shown = await blocks(browser, f"?queue=work&message={first.id}")
        assert orjson.loads(titled(shown, "Body")["text"])["order"] == 7
        assert "Traceback" in titled(shown, "Stack")["text"]
        assert orjson.loads(titled(shown, "Then")["text"])["steps"][0][1]["order"] == 7
        assert titled(shown, "Dead letter")["facts"]["size"] == len(first.body)
        page = await browser.get(f"/-/queues?queue=work&message={first.id}")
        for content in (page.body, orjson.dumps(shown), orjson.dumps(listed)):
            assert SECRET.encode() not in content
        assert MARKUP.encode() not in page.body

        done = await act(browser, "delete", queue="work", message=first.id)
        assert done["message"] == "deleted 1 of work"
        done = await act(browser, "replay", queue="work", message=second.id)
        assert done["message"] == "replayed 1 of work"
        (letter,) = await wait_dead_letters(table, "work", 1)
        assert letter.id == second.id
        assert (await act(browser, "replay-all", queue="work"))["message"] == "replayed 1 of work"
        gone = await blocks(browser, f"?queue=work&message={first.id}")
        assert gone[0]["text"].startswith("No such dead letter")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xfe" + SECRET.encode(), "binary"),
        (b"\x1f\x8b" + SECRET.encode(), "gzip"),
        (b'{"password": "' + SECRET.encode() + b'", "pad": "' + b"x" * 2**20 + b'"}', "text, too large to show"),
        (b"password=" + SECRET.encode() + b" " + MARKUP.encode(), "text"),
        (b'{"x": "' + b"<b>" * 300_000 + b'"}', "JSON"),
    ],
)
async def test_hostile_bodies_are_shown_by_size_and_kind_or_masked_and_cut(
    table: dict[str, Any], body: bytes, kind: str
) -> None:
    async with queue_console(table, failing_consumers()) as browser:
        await publish(browser, "bad")
        (letter,) = await wait_dead_letters(table, "work", 1)
        await replace_body(table, letter.id, body)
        shown = await blocks(browser, f"?queue=work&message={letter.id}")
        facts = titled(shown, "Dead letter")["facts"]
        assert (facts["body"], facts["size"]) == (kind, len(body))
        page = await browser.get(f"/-/queues?queue=work&message={letter.id}")
        assert page.status == 200
        assert len(page.body) < 60_000
        assert SECRET.encode() not in page.body + orjson.dumps(shown)
        assert MARKUP.encode() not in page.body


async def replace_body(table: dict[str, Any], identifier: str, body: bytes) -> None:
    """Replace the only dead letter by one of another publisher, with *body*."""
    if table["url"].startswith("sqlite"):
        with closing(sqlite3.connect(table["url"].removeprefix("sqlite:///"))) as file, file:
            file.execute("UPDATE messages SET body = ? WHERE id = ?", (body, identifier))
        return
    if table["url"].startswith("postgresql"):
        async with opened(table["url"]) as database:
            sql = "UPDATE scalekit_queue_dead_letters SET body = :body WHERE id = :id"
            await database.execute(sql, {"body": body, "id": identifier})
        return
    import aiormq

    async with open_queue_admin(table) as admin:
        await admin.purge("work", True)
    connection = await aiormq.connect(table["url"])
    channel = await connection.channel()
    properties = aiormq.spec.Basic.Properties(message_id=identifier)
    await channel.basic_publish(body, routing_key=f"{table['prefix']}work.dead", properties=properties)
    await connection.close()


async def test_a_consumer_is_paused_and_resumed_on_the_page(table: dict[str, Any]) -> None:
    handled: list[object] = []
    consumers = Consumers()

    @consumers.on("work")
    async def work(message: AnyMessage) -> None:
        handled.append(message.body)

    async with queue_console(table, consumers) as browser:
        for values, problem in (
            ({"queue": "other"}, "no consumer of 'other'; expected work"),
            ({"queue": "work", "for": "8d"}, "for: expected a duration above zero and up to 7d, got '8d'"),
            ({"queue": "work", "for": "soon"}, "expected a duration"),
        ):
            refused = await act(browser, "pause", **values)
            assert refused["failed"]
            assert problem in refused["message"]
        done = await act(browser, "pause", queue="work")
        assert done["message"] == "paused work in all workers for 1h"
        async with asyncio.timeout(60):
            while rows(await blocks(browser), "Consumers")[0]["state"]["text"] != "paused":
                await asyncio.sleep(0.02)
        found = await blocks(browser)
        (consumer,) = rows(found, "Consumers")
        assert 3500 < consumer["resumes in"] <= 3600
        assert any(each["type"] == "notice" and "work is paused" in each["text"] for each in found)
        await publish(browser, 1)
        async with asyncio.timeout(60):
            while rows(await blocks(browser), "Queues")[0]["ready"] != 1:
                await asyncio.sleep(0.02)
        assert not handled
        assert (await act(browser, "resume", queue="work"))["message"] == "resumed work in all workers"
        await wait_until(lambda: handled == [1])


async def test_a_service_that_only_publishes_shows_its_queues(table: dict[str, Any], tmp_path: Any) -> None:
    async with queue_console(table, pool={"url": f"sqlite:///{tmp_path}/test.db"}) as browser:
        await publish(browser, 1, 2)
        found = await blocks(browser)
        (queue,) = rows(found, "Queues")
        assert queue["ready"] == 2
        is_exact = not table["url"].startswith("amqp")
        assert isinstance(queue["oldest"], float) if is_exact else queue["oldest"] == "unknown"
        assert any(each.get("text") == "This service consumes no messages." for each in found)
        facts = next(each["facts"] for each in found if each["type"] == "facts")
        assert (facts["messages in the outbox"], facts["outbox lag"]) == (0, 0)
        assert (await browser.post_json("/-/queues/pause", {"queue": "work"})).body == b"/-/queues/pause"  # no page


@pytest.mark.parametrize("query", ["?queue=%3Cb%3E", "?queue=work&message=%3Cb%3E", f"?queue=work&message={'x' * 999}"])
async def test_unknown_names_are_reported(sqlite_table: dict[str, Any], query: str) -> None:
    async with queue_console(sqlite_table) as browser:
        assert (await blocks(browser, query))[0]["type"] == "notice"
        page = await browser.get(f"/-/queues{query}")
        assert b"<b>" not in page.body


async def test_an_unavailable_broker_is_reported_without_its_password() -> None:
    table = {"url": "amqp://user:hunter2-9f8e7d@127.0.0.1:1/"}
    async with queue_console(table, failing_consumers()) as browser:
        found = await blocks(browser)
        assert any("cannot connect to the broker" in each.get("text", "") for each in found)
        assert SECRET not in orjson.dumps(found).decode()
        failed = await act(browser, "replay", queue="work", message="1")
        assert failed["failed"]
        assert "cannot connect to the broker" in failed["message"]


async def test_delayed_messages_and_the_age_of_the_oldest_are_shown_as_far_as_they_are_known(
    table: dict[str, Any],
) -> None:
    consumers = Consumers()
    handled: list[object] = []

    @consumers.on("work", retry=["10m"], concurrency=1)
    async def work(message: AnyMessage) -> None:
        if message.body == "failing":
            raise ValueError("wrong")
        handled.append(message.body)

    async with queue_console(table, consumers) as browser:
        queue = browser.app.context.get(QUEUE)
        await queue.publish("work", "later", delay="30m")
        await publish(browser, "failing", "good")
        await wait_until(lambda: handled == ["good"])
        is_exact = not table["url"].startswith("amqp")
        async with asyncio.timeout(60):
            expected = 2 if is_exact else "at least 2"
            while rows(await blocks(browser), "Queues")[0]["delayed"] != expected:
                await asyncio.sleep(0.02)
        assert rows(await blocks(browser), "Queues")[0]["oldest"] is None
        await act(browser, "pause", queue="work")
        await publish(browser, "waiting")
        async with asyncio.timeout(60):
            while rows(found := await blocks(browser), "Queues")[0]["ready"] != 1:
                await asyncio.sleep(0.02)
        oldest = rows(found, "Queues")[0]["oldest"]
        assert isinstance(oldest, float) if is_exact else oldest.startswith("about ")
        assert any("RabbitMQ lists neither" in each.get("text", "") for each in found) != is_exact
