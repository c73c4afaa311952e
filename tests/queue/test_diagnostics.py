"""Dead letters, and files that several instances do not share, are found."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit import INSTANCES
from scalekit.contracts import QUEUE, Consumers, Message
from tests.queue.harness import serving, wait_dead_letters

pytestmark = pytest.mark.anyio
consumers = Consumers()


@consumers.on("order.placed", retry=[])
async def fail(message: Message[int]) -> None:
    raise ValueError("broken")


async def test_dead_letters_are_found(table: dict[str, Any]) -> None:
    async with serving(table, consumers) as host:
        host.context.provide(INSTANCES, 2)
        items = {each.name: each for each in host.settings.plugins.diagnostics(host.context)["queue"]}
        assert await items["dead letters"].probe() == []
        await host.context.get(QUEUE).publish("order.placed", 1)
        await wait_dead_letters(table, "order.placed", 1)
        (finding,) = await items["dead letters"].probe()
        assert (finding.name, finding.key, finding.value) == ("dead-letters", "order.placed", "1")


async def test_a_file_of_messages_is_not_shared_by_instances(sqlite_table: dict[str, Any]) -> None:
    for instances, names in ((1, []), (2, ["separate-stores"])):
        async with serving(sqlite_table) as host:
            host.context.provide(INSTANCES, instances)
            items = host.settings.plugins.diagnostics(host.context)["queue"]
            assert [finding.name for each in items for finding in await each.probe()] == names
