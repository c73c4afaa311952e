"""What happens with ticks that are due, by the state of the schedule and the time."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit.contracts import Every, Schedule
from scalekit_queue.schedules.decision import (
    MAX_CLOCK_STEP,
    MAX_MISSED,
    MAX_PUBLISHED,
    NEVER,
    ScheduledMessage,
    finish,
    mark_seen,
    pause,
    publish_due,
    register,
    resume,
    trigger,
)
from scalekit_queue.schedules.state import ScheduleState, StateChange

MINUTE = 60_000
START = 1_000 * MINUTE
MAX_RUN = 10 * MINUTE


def minutely(**options: Any) -> ScheduledMessage:
    return ScheduledMessage(Schedule("work", Every("1m"), **options), "work", None, MAX_RUN)


def state(**fields: Any) -> ScheduleState:
    return ScheduleState("work", **{"rule": "every 1m", "last": START, **fields})


def ticks(change: StateChange) -> list[int]:
    return [int(envelope.headers["scalekit-due"]) for envelope in change.envelopes]


def test_a_due_tick_is_published_with_its_time_as_id() -> None:
    change = publish_due(minutely(), state(), START + MINUTE + 5)
    (envelope,) = change.envelopes
    assert envelope.name == "work"
    assert envelope.id == "work@1970-01-01T16:41:00.000Z"
    assert orjson.loads(envelope.body) == {"schedule": "work", "due": "1970-01-01T16:41:00.000Z"}
    tick = START + MINUTE
    assert change.state == state(last=tick, published=tick + 5, running=tick, outcome="running")
    assert (change.missed, change.overlapped) == (0, 0)


def test_nothing_is_published_before_the_next_tick_is_due() -> None:
    assert publish_due(minutely(), state(), START + MINUTE - 1) == StateChange(state())
    assert minutely().next_publication(state()) == START + MINUTE


@pytest.mark.parametrize(
    ("options", "late", "published", "missed"),
    [
        ({"missed": "run_once"}, 5, [10], 9),
        ({"missed": "skip"}, 5, [10], 9),
        ({"missed": "run_all", "overlap": "allow"}, 5, list(range(1, 11)), 0),
        ({"missed": "run_all", "overlap": "queue"}, 5, [1], 0),
    ],
)
def test_missed_ticks_are_published_by_policy(
    options: dict[str, Any], late: int, published: list[int], missed: int
) -> None:
    change = publish_due(minutely(**options), state(), START + 10 * MINUTE + late)
    assert ticks(change) == [START + number * MINUTE for number in published]
    assert change.missed == missed
    assert change.state.last == ticks(change)[-1]


def test_a_tick_that_is_more_than_a_minute_late_is_skipped_by_the_policy_skip() -> None:
    hourly = ScheduledMessage(Schedule("work", Every("1h"), missed="skip"), "work", None, MAX_RUN)
    hour = 60 * MINUTE
    now = START // hour * hour + hour
    assert ticks(publish_due(hourly, state(), now + MINUTE)) == [now]
    change = publish_due(hourly, state(), now + MINUTE + 1)
    assert (ticks(change), change.missed, change.state.last) == ([], 1, now)


def test_ticks_during_a_run_follow_the_overlap_policy() -> None:
    running = state(running=START, published=START)
    now = START + 2 * MINUTE
    skipped = publish_due(minutely(), running, now)
    assert (ticks(skipped), skipped.overlapped, skipped.state.last) == ([], 2, now)
    assert publish_due(minutely(overlap="queue"), running, now) == StateChange(running)
    assert ticks(publish_due(minutely(overlap="allow"), running, now)) == [now]


def test_a_run_that_has_not_ended_in_time_counts_as_lost() -> None:
    running = state(running=START, published=START)
    assert ticks(publish_due(minutely(), running, START + MAX_RUN)) == [START + MAX_RUN]


def test_the_number_of_ticks_is_limited() -> None:
    everything = minutely(missed="run_all", overlap="allow")
    now = START + 5_000 * MINUTE
    first = publish_due(everything, state(), now)
    assert len(first.envelopes) == MAX_PUBLISHED
    assert ticks(first)[0] == now - (MAX_MISSED - 1) * MINUTE
    second = publish_due(everything, first.state, now)
    assert ticks(second)[0] == ticks(first)[-1] + MINUTE


def test_a_new_schedule_and_a_changed_one_have_missed_nothing() -> None:
    new = register(minutely(), ScheduleState("work"), START).state
    assert new == state(seen=START)
    changed = register(minutely(), state(rule="every 3600s", last=START - MINUTE), START)
    assert (changed.state.last, changed.state.rule) == (START, "every 1m")
    assert register(minutely(), state(last=START - MINUTE), START).state.last == START - MINUTE
    assert register(minutely(), state(rule="old", last=START + MINUTE), START).state.last == START + MINUTE
    assert mark_seen(state(), START + 1).state == state(seen=START + 1)


def test_a_paused_schedule_publishes_nothing_and_makes_up_for_nothing() -> None:
    paused = pause(state(), START + 1).state
    assert pause(paused, START + 2).state == paused
    now = START + 5 * MINUTE
    assert publish_due(minutely(), paused, now) == StateChange(paused)
    assert minutely().next_publication(paused) == NEVER
    resumed = resume(paused, now).state
    assert publish_due(minutely(), resumed, now) == StateChange(resumed)
    assert ticks(publish_due(minutely(), resumed, now + MINUTE)) == [now + MINUTE]
    assert resume(state(), now).state == state()


def test_a_trigger_publishes_a_tick_unless_a_run_forbids_it() -> None:
    change = trigger(minutely(), state(paused=1), START + 5)
    assert (ticks(change), change.state.last, change.state.running) == ([START + 5], START, START + 5)
    refused = trigger(minutely(), change.state, START + 6)
    assert (ticks(refused), refused.state) == ([], change.state)
    assert "work is running" in refused.refusal
    assert ticks(trigger(minutely(overlap="allow"), change.state, START + 6)) == [START + 6]


def test_the_end_of_a_run_is_recorded() -> None:
    running = state(running=START, outcome="running")
    assert finish(START, "done", 12, running, 0).state == state(outcome="done", duration=12)
    assert finish(START, "retried", 12, running, 0).state == state(running=START, outcome="retried", duration=12)
    other = finish(START - MINUTE, "failed", 12, running, 0).state
    assert other.running == START, "the end of an earlier run does not end this one"


def test_after_a_clock_is_set_back_no_tick_is_repeated() -> None:
    ahead = state(last=START + MAX_CLOCK_STEP)
    assert publish_due(minutely(), ahead, START) == StateChange(ahead)
    assert minutely().next_publication(ahead) == ahead.last + MINUTE


def test_after_a_clock_is_set_back_by_much_the_schedule_continues_at_the_new_time() -> None:
    far_ahead = state(last=START + MAX_CLOCK_STEP + 1, running=START)
    change = publish_due(minutely(), far_ahead, START)
    assert (change.envelopes, change.state) == ((), state(last=START))
    assert ticks(publish_due(minutely(), change.state, START + MINUTE)) == [START + MINUTE]


@given(
    steps=st.lists(st.integers(-2 * 3600_000, 3600_000), min_size=1, max_size=30),
    policy=st.sampled_from([("run_once", "allow"), ("run_all", "allow"), ("skip", "allow"), ("run_all", "queue")]),
    jitter=st.sampled_from([0, 90_000]),
)
@settings(max_examples=100, deadline=None)
def test_no_tick_is_published_twice_whatever_the_clock_shows(
    steps: list[int], policy: tuple[Any, Any], jitter: int
) -> None:
    scheduled = minutely(missed=policy[0], overlap=policy[1], jitter=jitter)
    current, now, latest = state(), START, START
    published: list[int] = []
    for step in steps:
        now = max(now + step, latest - MAX_CLOCK_STEP)  # set back by more, it is another clock
        latest = max(latest, now)
        change = publish_due(scheduled, current, now)
        published += ticks(change)
        current = change.state if not ticks(change) else finish(ticks(change)[-1], "done", 1, change.state, now).state
    assert published == sorted(set(published))
    assert all(START < tick <= latest and not tick % MINUTE for tick in published)
