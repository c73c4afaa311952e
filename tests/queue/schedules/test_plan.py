"""Schedules that cannot work are refused before the start."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit import ConfigError, StartError, create_app
from scalekit.contracts import Consumers, Every, Message, Schedule
from scalekit.testing.conformance import bare_application
from scalekit_queue.config import QueueConfig
from scalekit_queue.schedules.plan import plan_schedules
from tests.queue.harness import consumers_target


def with_schedules(*schedules: dict[str, Any], **more: Any) -> QueueConfig:
    return QueueConfig.model_validate({"schedules": schedules, **more}, strict=False)


def declared() -> Consumers:
    consumers = Consumers()

    @consumers.every("1m", timeout="10s", retry=["1s", "2s"])
    async def refresh() -> None: ...

    @consumers.on("report.requested", timeout="1s", retry=[])
    async def report(message: Message[Any]) -> None: ...

    return consumers


def test_schedules_of_code_and_file_are_planned_together() -> None:
    file: list[dict[str, Any]] = [
        {"name": "refresh", "every": "5m", "overlap": "queue"},
        {"name": "reports", "every": "1h", "message": "report.requested", "body": {"kind": "daily"}, "jitter": "1s"},
        {"name": "others", "every": "1h", "overlap": "allow"},
    ]
    refresh, reports, others = plan_schedules(
        with_schedules(*file, consumers=consumers_target(declared()), prefix="shop."), True
    )
    assert refresh.schedule == Schedule("refresh", Every("5m"), overlap="queue")
    assert refresh.max_run == (3 * 10 + 3 + 300) * 1000
    assert reports.schedule == Schedule("reports", Every("1h"), jitter=1000)
    assert (reports.message, reports.body, reports.max_run) == ("report.requested", b'{"kind":"daily"}', 301_000)
    assert (others.message, others.body) == ("others", None)
    assert refresh.envelope(60_000, 0).id == "shop.refresh@1970-01-01T00:01:00.000Z"


def test_rabbitmq_without_a_database_is_refused() -> None:
    app = {"plugins": {"queue": {"url": "amqp://guest@127.0.0.1:1", "consumers": consumers_target(declared())}}}
    with pytest.raises(ConfigError, match=r"the schedule 'refresh' needs a database.* turn on \[plugins.pool\]"):
        create_app(app, app=bare_application)


def test_a_message_without_a_consumer_needs_the_overlap_allow() -> None:
    config = with_schedules({"name": "reports", "every": "1m", "message": "report.request"})
    with pytest.raises(StartError, match=r"'report\.request', which no consumer .* set overlap = .allow."):
        plan_schedules(config, True)


def test_the_number_of_schedules_is_limited() -> None:
    schedules = [{"name": f"s{number}", "every": "1m", "overlap": "allow"} for number in range(1001)]
    with pytest.raises(StartError, match="there are 1001 schedules, at most 1000 are allowed"):
        plan_schedules(with_schedules(*schedules), True)
    assert len(plan_schedules(with_schedules(*schedules[1:]), True)) == 1000


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({}, 'needs either every = "5m" or cron'),
        ({"every": "5m", "cron": "0 3 * * *"}, 'needs either every = "5m" or cron'),
        ({"cron": "0 25 * * *"}, "hour '25' is not within 0-23"),
        ({"cron": "0 3 * * *", "tz": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"every": "50ms"}, "a period is at least 100ms"),
        ({"every": "5m", "missed": "run_all"}, 'needs overlap "queue" or "allow"'),
        ({"every": "5m", "missed": "never"}, "run_once"),
        ({"every": "5m", "message": "no name"}, "expected a name of letters"),
        ({"every": "5m", "jitter": "2d"}, "jitter is between 0 and 24 hours"),
    ],
)
def test_invalid_schedules_of_the_file_are_refused(schedule: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_app({"plugins": {"queue": {"schedules": [{"name": "work", **schedule}]}}}, app=bare_application)


def test_two_schedules_of_one_name_are_refused() -> None:
    schedule = {"name": "work", "every": "5m", "overlap": "allow"}
    with pytest.raises(ConfigError, match="duplicate name of a schedule: work"):
        create_app({"plugins": {"queue": {"schedules": [schedule, schedule]}}}, app=bare_application)
