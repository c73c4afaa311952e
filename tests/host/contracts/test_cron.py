"""Cron expressions, compared with a search of every minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit.contracts import Cron

MINUTE = timedelta(minutes=1)
CLOCK_CHANGES = {
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Australia/Lord_Howe": ("2026-10-03T15:30", "2026-04-04T15:00"),
    "America/St_Johns": ("2006-04-02T03:31", "2006-10-29T02:31"),  # one minute past midnight
    "Africa/Cairo": ("2026-04-23T22:00", "2026-10-29T21:00"),  # midnight does not exist, and occurs twice
    "Pacific/Apia": ("2011-12-30T10:00", "2012-03-31T14:00"),  # 30 December does not exist
}


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def ticks(cron: Cron, start: str, count: int) -> list[str]:
    found: list[str] = []
    tick = milliseconds(start)
    for _ in range(count):
        later = cron.next(tick)
        assert later is not None
        tick = later
        found.append(f"{datetime.fromtimestamp(tick / 1000, UTC):%Y-%m-%dT%H:%M}")
    return found


class Search:
    """Finds ticks by looking at the clock of the time zone in every minute."""

    def __init__(self, minutes: set[int], hours: set[int], days: set[int], weekdays: set[int]) -> None:
        self.minutes, self.hours, self.days, self.weekdays = minutes, hours, days, weekdays
        self.one_of_the_days = False

    def matches(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours:
            return False
        by_day, by_weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return by_day or by_weekday if self.one_of_the_days else by_day and by_weekday

    def ticks(self, after: int, until: int, zone: ZoneInfo) -> list[int]:
        found = []
        moment = datetime.fromtimestamp(after / 1000, UTC)
        before = moment.astimezone(zone).replace(tzinfo=None)
        for _ in range((until - after) // 60_000):
            moment += MINUTE
            local = moment.astimezone(zone)
            shown = local.replace(tzinfo=None, fold=0)
            is_due = self.matches(local) and (not local.fold or len(self.hours) == 24)
            missing = before + MINUTE
            while missing < shown and len(self.hours) < 24:
                is_due = is_due or self.matches(missing)
                missing += MINUTE
            if is_due:
                found.append(round(moment.timestamp() * 1000))
            before = shown
        return found


def field(low: int, high: int) -> st.SearchStrategy[tuple[str, set[int]]]:
    """Return texts of a field with the numbers that they mean."""
    everything = set(range(low, high + 1))
    numbers = st.sets(st.sampled_from(sorted(everything)), min_size=1, max_size=len(everything) - 1)
    return st.one_of(
        st.just(("*", everything)),
        numbers.map(lambda chosen: (",".join(map(str, chosen)), chosen)),
        st.tuples(st.integers(low, high), st.integers(1, 7)).map(
            lambda pair: (f"{low}-{pair[0]}/{pair[1]}", set(range(low, pair[0] + 1, pair[1])))
        ),
    )


CHANGES = [(zone, moment) for zone, moments in CLOCK_CHANGES.items() for moment in moments]


@given(
    change=st.sampled_from(CHANGES),
    minute=field(0, 59),
    hour=field(0, 23),
    day=field(1, 28),
    weekday=field(0, 6),
    offset=st.integers(-30 * 60, 0),
    length=st.integers(60, 40 * 60),
)
@settings(max_examples=60, deadline=None)
def test_ticks_around_clock_changes_are_those_of_a_search(
    change: tuple[str, str],
    minute: tuple[str, set[int]],
    hour: tuple[str, set[int]],
    day: tuple[str, set[int]],
    weekday: tuple[str, set[int]],
    offset: int,
    length: int,
) -> None:
    zone, moment = change
    days = set(range(1, 32)) if day[0] == "*" else day[1]
    cron = Cron(f"{minute[0]} {hour[0]} {day[0]} * {weekday[0]}", zone)
    after = milliseconds(moment) + offset * 60_000
    until = after + length * 60_000
    search = Search(minute[1], hour[1], days, weekday[1])
    search.one_of_the_days = "*" not in (day[0], weekday[0])
    expected = search.ticks(after, until, ZoneInfo(zone))
    assert cron.latest(after, until, 10_000) == expected
    assert cron.latest(after, until, 3) == expected[-3:]
    first = cron.next(after)
    assert first is not None
    assert (first if first <= until else None) == (expected[0] if expected else None)


def test_a_time_that_does_not_exist_is_due_at_the_next_one_that_exists() -> None:
    cron = Cron("30 2 * * *", "Europe/Berlin")
    assert ticks(cron, "2026-03-28T00:00", 3) == ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]
    several = Cron("0,30 2,3 29 3 *", "Europe/Berlin")
    assert ticks(several, "2026-03-28T00:00", 2) == ["2026-03-29T01:00", "2026-03-29T01:30"]
    assert ticks(Cron("0 9 30 12 *", "Pacific/Apia"), "2011-12-01T00:00", 1) == ["2011-12-30T10:00"]


def test_a_time_that_occurs_twice_is_due_once() -> None:
    cron = Cron("30 2 * * *", "Europe/Berlin")
    assert ticks(cron, "2026-10-24T12:00", 2) == ["2026-10-25T00:30", "2026-10-26T01:30"]


def test_expressions_for_every_hour_follow_elapsed_time() -> None:
    cron = Cron("30 * * * *", "Europe/Berlin")
    assert ticks(cron, "2026-10-25T00:00", 3) == ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"]
    assert ticks(cron, "2026-03-29T00:00", 2) == ["2026-03-29T00:30", "2026-03-29T01:30"]


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        ("0 0 29 2 *", "2026-01-01T00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 0 29 2 *", "2096-03-01T00:00", ["2104-02-29T00:00"]),  # 2100 is no leap year
        ("0 0 29 2 */7", "2088-03-01T00:00", ["2128-02-29T00:00"]),
        ("0 0 L * *", "2027-01-31T00:00", ["2027-02-28T00:00", "2027-03-31T00:00"]),
        ("0 0 L 2 *", "2028-01-31T00:00", ["2028-02-29T00:00"]),
        ("0 3 * * 1-5", "2026-11-27T04:00", ["2026-11-30T03:00"]),
        ("0 3 * * MON-fri", "2026-11-27T04:00", ["2026-11-30T03:00"]),
        ("0 0 13 * 5", "2026-11-12T12:00", ["2026-11-13T00:00", "2026-11-20T00:00"]),
        ("0 0 */2 * 7", "2026-11-01T00:00", ["2026-11-15T00:00", "2026-11-29T00:00"]),
        ("*/15 9-17/4 * jan,12 *", "2026-11-30T00:00", ["2026-12-01T09:00", "2026-12-01T09:15"]),
        ("@weekly", "2026-11-30T00:00", ["2026-12-06T00:00"]),
    ],
)
def test_fields_mean_what_cron_says(expression: str, start: str, expected: list[str]) -> None:
    assert ticks(Cron(expression), start, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 3 * *", "expected minute, hour, day, month and weekday"),
        ("60 * * * *", "minute '60' is not within 0-59"),
        ("0 * 0 * *", "day '0' is not within 1-31"),
        ("5/2 * * * *", "minute '5/2' is not within 0-59, or is no range"),
        ("* * * * fri-mon", "weekday 'fri-mon' is not within 0-7, or is no range from low to high"),
        ("*/0 * * * *", "minute '\\*/0'"),
        ("+5 * * * *", "minute '\\+5' is none of"),
        ("0 0 25-L * *", "day '25-l'"),
        ("0 0 30 2 *", "is never due"),
    ],
)
def test_invalid_expressions_are_refused(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cron(expression)


def test_an_unknown_time_zone_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="unknown time zone 'Europe/Berln'; did you mean 'Europe/Berlin'"):
        Cron("0 0 * * *", "Europe/Berln")
    with pytest.raises(ValueError, match=r"unknown time zone '\.\./etc'"):
        Cron("0 0 * * *", "../etc")


def test_rules_are_equal_by_expression_and_time_zone() -> None:
    assert Cron("0 0 * * *", "Europe/Berlin") == Cron("0 0 * * *", "Europe/Berlin") != Cron("0 0 * * *")
    assert len({Cron("0 0 * * *"), Cron("0 0 * * *")}) == 1
    assert str(Cron("0 0 * * *", "Europe/Berlin")) == "cron 0 0 * * * Europe/Berlin"


def test_there_is_no_tick_after_the_last_year() -> None:
    assert Cron("0 0 * * *").next(milliseconds("9999-12-31T12:00")) is None
