"""Dates of HTTP, against the calendar of the standard library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scalekit_cache.freshness import parse_date
from tests.fuzz.words import fuzzed, mixed

NOW = 1_700_000_000.0  # 14 November 2023, 22:13:20
DAYS = ("Sun", "Mon", "Sat", "Sunday", "Wednesday", "Xyz")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Abc", "feb", "DEC")
LAST_SECOND = 253_402_300_799  # of the year 9999


def number(width: int) -> st.SearchStrategy[str]:
    few = st.sampled_from([0, 1, 12, 23, 24, 28, 29, 30, 31, 32, 59, 60, 61, 99, 1900, 1970, 2000, 2023, 9999])
    return st.one_of(few, st.integers(0, 10**width - 1)).map(lambda value: f"{value:0{width}d}"[-width:])


two, four = number(2), number(4)
time = st.tuples(two, two, two).map(":".join)
day, month = st.sampled_from(DAYS), st.sampled_from(MONTHS)
imf = st.tuples(day.map(lambda name: name[:3]), two, month, four, time).map(
    lambda parts: "{}, {} {} {} {} GMT".format(*parts)
)
rfc850 = st.tuples(day, two, month, two, time).map(lambda parts: "{}, {}-{}-{} {} GMT".format(*parts))
asctime = st.tuples(day, month, two, time, four).map(lambda parts: "{} {} {} {} {}".format(*parts))
dates = mixed([imf, rfc850, asctime], *DAYS, *MONTHS, "GMT", "UTC", " ", ",", ":", "-", "00:00:00", "+0100", "\xa0")


@given(dates)
@example(b"Sat, 01 Jan 0000 00:00:00 GMT")
@example(b"Mon, 31 Feb 2022 00:00:00 GMT")
@example(b"Sat, 01 Jan 9999 23:59:60 GMT")
@example(b"Monday, 31-Feb-00 00:00:00 GMT")
@example(b"Sat Jan 01 00:00:00 0000")
@fuzzed
def test_any_bytes_parse_to_a_valid_date_or_none(value: bytes) -> None:
    seconds = parse_date(value, NOW)
    assert seconds is None or -62_135_596_800 <= seconds <= LAST_SECOND + 1


@given(imf)
@fuzzed
def test_dates_parse_as_in_the_standard_library(text: str) -> None:
    seconds = parse_date(text.encode(), NOW)
    try:
        expected = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        assert seconds is None or ":60 " in text  # a leap second is a date of HTTP, not of Python
        return
    hour = int(text.split()[4][:2])
    if expected.year == int(text.split()[3]) and hour < 24:  # it takes 0050 for 1950
        assert seconds == expected.replace(tzinfo=UTC).timestamp()


@given(st.integers(-60_000_000_000, LAST_SECOND))
@fuzzed
def test_a_date_in_any_format_is_read_as_it_was_written(seconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    for form in ("%a, %d %b {year} %H:%M:%S GMT", "%a %b %d %H:%M:%S {year}"):
        text = moment.strftime(form.format(year=f"{moment.year:04d}"))
        assert parse_date(text.encode(), NOW) == seconds, text


@given(st.integers(int(NOW) - 50 * 365 * 86400 + 86400, int(NOW) + 50 * 365 * 86400))
@fuzzed
def test_a_year_of_two_digits_is_within_fifty_years_of_now(seconds: int) -> None:
    text = datetime.fromtimestamp(seconds, UTC).strftime("%A, %d-%b-%y %H:%M:%S GMT")
    assert parse_date(text.encode(), NOW) == seconds


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("Sunday, 14-Nov-73 22:13:00 GMT", 2073),
        ("Sunday, 14-Nov-73 22:14:00 GMT", 1973),
        ("Sunday, 31-Dec-73 00:00:00 GMT", 1973),
        ("Sunday, 01-Jan-74 00:00:00 GMT", 1974),
        ("Sunday, 01-Jan-99 00:00:00 GMT", 1999),
        ("Sunday, 01-Jan-00 00:00:00 GMT", 2000),
    ],
)
def test_a_date_that_seems_more_than_fifty_years_ahead_is_in_the_past(text: str, year: int) -> None:
    seconds = parse_date(text.encode(), NOW)
    assert seconds is not None
    assert datetime.fromtimestamp(seconds, UTC).year == year


@pytest.mark.parametrize(
    "text",
    [
        "Sat, 01 Jan 0000 00:00:00 GMT",
        "Thu, 31 Feb 2022 00:00:00 GMT",
        "Wed, 29 Feb 2023 00:00:00 GMT",
        "Sat, 31 Apr 2022 00:00:00 GMT",
        "Sat, 00 Jan 2022 00:00:00 GMT",
        "Sat, 01 Jan 2022 24:00:00 GMT",
        "Sat, 01 Jan 2022 00:60:00 GMT",
        "Sat, 01 Jan 2022 00:00:61 GMT",
        "Saturday, 29-Feb-23 00:00:00 GMT",
        "Sat Jan  0 00:00:00 2022",
        "Sat Jan 32 00:00:00 2022",
    ],
)
def test_invalid_dates_are_rejected(text: str) -> None:
    assert parse_date(text.encode(), NOW) is None


def test_a_leap_second_is_a_date() -> None:
    assert parse_date(b"Sat, 31 Dec 2016 23:59:60 GMT", NOW) == 1_483_228_800
