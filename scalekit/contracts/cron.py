"""Cron expressions with time zones: the moments at which they are due, in milliseconds since the epoch."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from scalekit.config.name_suggestion import did_you_mean

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LAST_DAY = 32
"""Stands for the last day of a month, written ``L``."""
ALL_HOURS = frozenset(range(24))
MAX_DAYS = 41 * 366
"""Days in which every expression that is ever due is due: 29 February is a Sunday once in 28 or 40 years."""
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
CACHED_DAYS = 8


class Cron:
    """The cron expression *expression* in the time zone *tz*, such as ``0 3 * * 1-5`` in ``Europe/Berlin``.

    Its fields are minute, hour, day of the month, month and weekday, as in Vixie cron; the day ``L`` is the last one.
    When the clock is set forward, a time that does not exist is due at the next one that exists; when it is set back, a
    time that occurs twice is due once. Expressions for every hour follow elapsed time instead: they are due in both of
    the repeated hours, and have no tick in the missing one. Raises ValueError with the remedy.
    """

    def __init__(self, expression: str, tz: str = "UTC") -> None:
        self._expression, self._tz = expression, tz
        fields = ALIASES.get(expression, expression).lower().split() if isinstance(expression, str) else []
        if len(fields) != 5:
            raise ValueError(
                f'expected minute, hour, day, month and weekday, such as "0 3 * * 1-5" for 03:00 on Monday to Friday,'
                f" got {expression!r}"
            )
        self._zone = _load_zone(tz)
        self._minutes = sorted(_parse("minute", fields[0], 0, 59))
        hours = _parse("hour", fields[1], 0, 23)
        self._hours, self._is_hourly = sorted(hours), hours == ALL_HOURS
        self._days = _parse("day", fields[2], 1, 31, _day)
        self._months = _parse("month", fields[3], 1, 12, lambda text: _named(text, MONTHS, 1))
        weekdays = _parse("weekday", fields[4], 0, 7, lambda text: _named(text, WEEKDAYS, 0))
        self._weekdays = {number % 7 for number in weekdays}
        self._is_either = not (fields[2].startswith("*") or fields[4].startswith("*"))
        self._ticks = lru_cache(CACHED_DAYS)(self._compute)
        if self.next(0) is None:
            raise ValueError(f"{expression!r} is never due; correct its day or month")

    def __str__(self) -> str:
        """Return the expression with its time zone."""
        return f"cron {self._expression} {self._tz}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def next(self, after: int) -> int | None:
        """Return the first tick after *after*, or None when the years of the calendar end before."""
        start = self._date(after) - 2 * DAY
        for offset in range(MAX_DAYS + 4):
            try:
                day = start + offset * DAY
                # on days whose midnight is repeated, ticks of two days interleave
                later = [tick for tick in (*self._ticks(day), *self._ticks(day + DAY)) if tick > after]
            except OverflowError:
                return None
            if later:
                return min(later)
        return None

    def latest(self, after: int, until: int, limit: int) -> list[int]:
        """Return the last ticks after *after* and up to *until*, at most *limit* of them, in order."""
        day, first = self._date(until) + DAY, self._date(after) - 2 * DAY
        found: set[int] = set()
        is_complete = False
        while day >= first and not is_complete:
            is_complete = len(found) >= limit  # the day before may interleave: it is the last one to look at
            found.update(tick for tick in self._ticks(day) if after < tick <= until)
            day -= DAY
        return sorted(found)[-limit:]

    def _date(self, milliseconds: int) -> date:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).date()

    def _compute(self, day: date) -> tuple[int, ...]:
        """Return the ticks of the local *day*."""
        if not self._includes(day):
            return ()
        ticks: set[int] = set()
        for hour in self._hours:
            for minute in self._minutes:
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self._zone)
                ticks.update(round(each.timestamp() * 1000) for each in self._moments(local))
        return tuple(sorted(ticks))

    def _includes(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        is_last = day.day == monthrange(day.year, day.month)[1]
        in_month = day.day in self._days or (LAST_DAY in self._days and is_last)
        in_week = day.isoweekday() % 7 in self._weekdays
        return in_month or in_week if self._is_either else in_month and in_week

    def _moments(self, local: datetime) -> Iterator[datetime]:
        """Yield when a clock of the time zone shows *local*, or when it shows the next time that exists."""
        if _exists(local):
            yield local
            if self._is_hourly:
                yield local.replace(fold=1)
        elif not self._is_hourly:
            while not _exists(local):
                local += MINUTE
            yield local


def _exists(local: datetime) -> bool:
    return local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None, fold=0) == local.replace(tzinfo=None)


def _load_zone(tz: str) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    except (KeyError, ValueError, OSError, TypeError):  # whatever the text is taken for: a path, a folder, nothing
        known = available_timezones()
        remedy = did_you_mean(str(tz), known) if known else "; install the package tzdata"
        raise ValueError(f"unknown time zone {tz!r}{remedy}") from None


def _parse(field: str, text: str, low: int, high: int, number: Callable[[str], int] | None = None) -> set[int]:
    """Return the numbers of a list of ``*``, ``5``, ``1-5``, ``*/15`` or ``9-17/2``."""
    numbers: set[int] = set()
    number = number or _integer
    for item in text.split(","):
        span, slash, step = item.partition("/")
        begin, dash, end = span.partition("-")
        try:
            first, last = (low, high) if span == "*" else (number(begin), number(end if dash else begin))
            every = _integer(step) if slash else 1
        except ValueError:
            raise ValueError(f"{field} {item!r} is none of: a number, *, a range such as 1-5, */15 or 9-17/2") from None
        allowed = LAST_DAY if field == "day" and span == "l" else high
        if not low <= first <= last <= allowed or every < 1 or (slash and not dash and span != "*"):
            raise ValueError(f"{field} {item!r} is not within {low}-{high}, or is no range from low to high")
        numbers.update(range(first, last + 1, every))
    return numbers


def _named(text: str, names: tuple[str, ...], first: int) -> int:
    return names.index(text) + first if text in names else _integer(text)


def _day(text: str) -> int:
    return LAST_DAY if text == "l" else _integer(text)


def _integer(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number")
    return int(text)
