"""Periods, policies and the handlers of schedules."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit.contracts import Consumers, Cron, Every, Message, Schedule, Tick


def test_periods_are_counted_from_the_epoch() -> None:
    rule = Every("5m")
    assert rule.next(0) == 300_000
    assert rule.next(299_999) == 300_000
    assert rule.next(300_000) == 600_000
    assert rule.latest(0, 900_000, 10) == [300_000, 600_000, 900_000]
    assert rule.latest(300_000, 899_999, 10) == [600_000]
    assert rule.latest(0, 10**12, 2) == [999_999_600_000, 999_999_900_000]
    assert Every(0.25) == Every("250ms")
    assert len({Every(0.25), Every("250ms")}) == 1
    assert str(Every("90s")) == "every 90s"


def test_jitter_is_the_same_in_every_instance_and_differs_by_tick() -> None:
    def delays_of(name: str) -> list[int]:
        schedule = Schedule(name, Every("1m"), jitter=30_000)
        return [schedule.publish_at(tick) - tick for tick in range(0, 600_000, 60_000)]

    delays = delays_of("one")
    assert delays == delays_of("one") != delays_of("two")
    assert all(0 <= delay <= 30_000 for delay in delays)
    assert len(set(delays)) == 10


def test_a_tick_is_ready_when_its_jitter_has_passed() -> None:
    schedule = Schedule("one", Every("1m"), jitter=30_000)
    moment = schedule.publish_at(60_000)
    assert schedule.next_publication(0) == moment
    assert schedule.ready(0, moment - 1, 10) == []
    assert schedule.ready(0, moment, 10) == [60_000]


def test_ticks_do_not_overtake_one_whose_jitter_is_longer_than_the_period() -> None:
    schedule = Schedule("one", Every("100ms"), jitter=10_000)
    moments = [schedule.publish_at(tick) for tick in range(100, 2_100, 100)]
    assert moments != sorted(moments)
    assert schedule.ready(0, moments[0] - 1, 100) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missed": "never"}, "missed is one of run_once, run_all, skip, got 'never'"),
        ({"overlap": "drop"}, "overlap is one of skip, queue, allow, got 'drop'"),
        ({"missed": "run_all"}, 'needs overlap "queue" or "allow"'),
        ({"jitter": "25h"}, "jitter is between 0 and 24 hours"),
        ({"name": "no name"}, "expected a name of letters"),
        ({"name": "n" * 101}, "at most 100 characters"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    async def handler() -> None: ...

    with pytest.raises(ValueError, match=message):
        Consumers().every("1m", **options)(handler)


def test_short_periods_are_refused() -> None:
    with pytest.raises(ValueError, match="a period is at least 100ms"):
        Consumers().every("99ms")


def test_schedules_are_consumers_of_their_ticks() -> None:
    consumers = Consumers()

    @consumers.cron("0 3 * * *", tz="Europe/Berlin", overlap="queue", missed="run_all", jitter="1s", timeout="1h")
    async def nightly(message: Message[Tick]) -> None: ...

    @consumers.every("1m", name="other", dedupe=None, retry=[])
    async def minutely(message: Message[dict[str, str]]) -> None: ...

    first, second = consumers
    rule = Cron("0 3 * * *", "Europe/Berlin")
    assert first.schedule == Schedule("nightly", rule, missed="run_all", overlap="queue", jitter=1000)
    assert (first.name, first.timeout, first.dedupe, first.default_dedupe) == ("nightly", 3600, None, 86_400)
    assert (second.name, second.timeout, second.default_dedupe, second.retry) == ("other", 300, None, ())
    body = b'{"schedule": "other", "due": "2026-11-30T03:00:00.000Z"}'
    assert first.body.validate_json(body).due.isoformat() == "2026-11-30T03:00:00+00:00"
    assert second.body.validate_json(body)["schedule"] == "other"


def test_handlers_of_ticks_are_asynchronous_and_take_one_message_at_most() -> None:
    def synchronous() -> None: ...

    async def takes_two(message: Any, other: Any) -> None: ...

    with pytest.raises(ValueError, match="is not asynchronous"):
        Consumers().every("1m")(synchronous)  # type: ignore[type-var]  # the mistake that is tested
    with pytest.raises(ValueError, match="must take one argument"):
        Consumers().every("1m")(takes_two)


def test_a_name_has_one_consumer() -> None:
    consumers = Consumers()

    @consumers.on("refresh")
    async def handle(message: Message[Any]) -> None: ...

    async def refresh() -> None: ...

    with pytest.raises(ValueError, match="'refresh' has two consumers"):
        consumers.every("1m")(refresh)
