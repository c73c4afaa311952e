"""Handlers start as a policy of the plugin ratelimit allows, over all processes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scalekit import ScalekitError
from scalekit.contracts import QUEUE, Consumers, Message
from scalekit.host import Host
from scalekit.telemetry import TELEMETRY
from scalekit_ratelimit.metrics import REFUSED
from tests.queue.harness import open_queue_admin, serving, wait_until
from tests.servers import Redis

pytestmark = pytest.mark.anyio
Table = dict[str, Any]


def limited(seen: list[int]) -> Consumers:
    consumers = Consumers()

    @consumers.on("mail.send", limit_policy="mail")
    async def send(message: Message[int]) -> None:
        seen.append(message.body)

    return consumers


def policies(limit: str, **options: Any) -> dict[str, Any]:
    return {"policies": [{"name": "mail", "limit": limit, "key": "application"}], **options}


def refusals(host: Host) -> float:
    series = host.context.get(TELEMETRY).recorded(REFUSED).get(("mail",))
    return 0 if series is None else series.value


@pytest.mark.needs("redis")
async def test_the_limit_holds_over_processes_and_messages_that_wait_are_requeued(sqlite_table: Table) -> None:
    seen: list[int] = []
    with Redis() as server:
        limits = policies("3/1h", url=server.url)
        async with serving(sqlite_table, limited(seen), ratelimit=limits, metrics={}) as host:
            await host.context.get(QUEUE).publish_many("mail.send", range(5))
            await wait_until(lambda: refusals(host))
            assert seen == [0, 1, 2]
        async with serving(sqlite_table, limited(seen), ratelimit=limits, metrics={}) as other:
            await wait_until(lambda: refusals(other))
    assert "StartRate" not in repr(asyncio.all_tasks())
    assert seen == [0, 1, 2]
    async with open_queue_admin(sqlite_table) as queue:
        assert (await queue.depth("mail.send")).ready == 2


async def test_handlers_continue_when_the_limit_allows(sqlite_table: Table) -> None:
    seen: list[int] = []
    async with serving(sqlite_table, limited(seen), ratelimit=policies("5/1s"), metrics={}) as host:
        await host.context.get(QUEUE).publish_many("mail.send", range(7))
        await wait_until(lambda: len(seen) == 7)
        assert refusals(host)
    assert seen == [*range(7)]


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ({}, r"has limit_policy 'mail': turn on \[plugins\.ratelimit\]"),
        ({"ratelimit": {}}, r"limit_policy of the consumer of 'mail\.send': policy 'mail' does not have"),
    ],
)
async def test_a_policy_that_is_not_there_is_refused_at_the_start(
    sqlite_table: Table, plugins: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScalekitError, match=message):
        async with serving(sqlite_table, limited([]), **plugins):
            pass
