"""A call becomes a message with its priority and delay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from scalekit_queue.django import task_consumers
from scalekit_queue.django.call import call_of
from tests.queue.django import application as shop
from tests.queue.harness import consumers_target, open_queue_admin

LEVELS = {-100: 0, -51: 0, -50: 1, -10: 2, -1: 3, 0: 4, 1: 5, 4: 5, 5: 6, 10: 7, 25: 8, 49: 8, 50: 9, 100: 9}


@pytest.mark.parametrize("priority", LEVELS)
def test_priorities_of_django_are_levels_of_messages(priority: int) -> None:
    call = call_of(shop.add.using(priority=priority), "default", [1], {})
    assert call.message_priority == LEVELS[priority]


def test_the_delay_ends_at_the_time_of_the_task() -> None:
    now = datetime.now(UTC)
    assert call_of(shop.add, "default", [1], {}).delay == 0
    assert call_of(shop.add.using(run_after=now - timedelta(hours=1)), "default", [1], {}).delay == 0
    assert call_of(shop.add.using(run_after=now + timedelta(hours=1)), "default", [1], {}).delay == pytest.approx(
        3600, abs=60
    )


@pytest.mark.anyio
async def test_the_message_has_the_priority_and_the_call(sqlite_table: dict[str, Any]) -> None:
    table = {**sqlite_table, "consume_in": "workers"}
    async with shop.serve(table, consumers_target(task_consumers())), open_queue_admin(sqlite_table) as admin:
        low = await shop.add.using(priority=-100).aenqueue(1)
        high = await shop.add.using(priority=100).aenqueue(2, second=3)
        first, second = await admin.peek("django.default.default", False, 10)
    assert [(each.id, each.priority) for each in (first, second)] == [(high.id, 9), (low.id, 0)]
    body = orjson.loads(first.body)
    assert body["task"] == "tests.queue.django.application.add"
    assert (body["args"], body["kwargs"], body["queue_name"]) == ([2], {"second": 3}, "default")
