from __future__ import annotations

import pytest

from scalekit.telemetry import Telemetry
from scalekit_queue import activity
from scalekit_queue.activity import QueueActivity
from scalekit_queue.metrics import HANDLER_SECONDS, RETRIES, ConsumeOutcome, ConsumerMetrics, PublishMetrics


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(activity, "monotonic", lambda: clock.now)
    return clock


def test_messages_of_the_last_minute_are_counted_and_older_ones_not(clock: Clock) -> None:
    telemetry = Telemetry(100)
    found = QueueActivity(telemetry)
    publisher, consumer = PublishMetrics(telemetry), ConsumerMetrics(telemetry, "work")
    found.sample()
    publisher.published("work", 100)
    for second in range(0, 120, 10):
        clock.now = 1000.0 + second
        found.sample()
    publisher.published("work", 5)
    for outcome in ConsumeOutcome:
        consumer.consumed(outcome)
    consumer.retried("error")
    consumer.duration.observe(0.3)
    described = found.describe()["work"]
    assert described["published"] == 5
    assert described["settled"] == len(ConsumeOutcome) - 2
    assert described["retries"] == 1
    assert sum(described["durations"]) == 1
    clock.now += 3600
    found.sample()
    clock.now += 3600
    assert found.describe()["work"]["published"] == 0


def test_without_a_sample_everything_since_the_start_is_counted() -> None:
    telemetry = Telemetry(100)
    telemetry.series(RETRIES, "other", "error").inc(2)
    telemetry.series(HANDLER_SECONDS, "work").observe(1000)
    described = QueueActivity(telemetry).describe()
    assert described["other"]["retries"] == 2
    assert described["work"]["durations"][-1] == 1
