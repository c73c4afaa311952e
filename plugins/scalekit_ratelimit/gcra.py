"""One limit, in whole microseconds.

GCRA (ITU-T I.371) keeps one moment for each key, the theoretical arrival time: when everything that was taken is given
back. The interval between two requests is rounded up, so that a limit is never exceeded by what rounding leaves over,
and all numbers stay below 2^53, where Lua's doubles are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from scalekit import Rate

Algorithm = Literal["gcra", "sliding-window"]

MICROSECONDS = 1_000_000
LARGEST_WINDOW = 10_000
"""Requests that an exact sliding window may remember for each key."""


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity: it is part of keys
class Limit:
    """At most *limit* in *period* microseconds, *burst* of them at once; *name* is what clients are told.

    *field* is the item of ``RateLimit-Policy``; *key_suffix* ends the Redis keys.
    """

    name: str
    limit: int
    period: int
    burst: int
    algorithm: Algorithm
    interval: int
    tolerance: int
    quoted: bytes
    field: bytes
    key_suffix: str


class LimitState(NamedTuple):
    """What a rule says: whether it allows, what remains, and microseconds until all is back and until a next try."""

    allowed: bool
    remaining: int
    reset: int
    retry: int


def rule(name: str, rate: Rate, burst: int | None = None, algorithm: Algorithm = "gcra") -> Limit:
    """Return the rule for *rate*; raises ValueError for one that cannot be counted exactly."""
    period = round(rate.period * MICROSECONDS)
    if period < rate.limit:
        raise ValueError(f"limit {rate} is more than one request in a microsecond; write a lower one")
    if period > 366 * 86400 * MICROSECONDS:
        raise ValueError(f"limit {rate} is over more than a year; write a shorter period")
    if algorithm == "sliding-window" and rate.limit > LARGEST_WINDOW:
        raise ValueError(
            f"limit {rate} is more than the {LARGEST_WINDOW} requests that a sliding window remembers;"
            ' write algorithm = "gcra"'
        )
    most = rate.limit if burst is None else burst
    if most > rate.limit:
        raise ValueError(f"burst {most} is above limit {rate}; it says how many of those may come at once")
    interval = -(-period // rate.limit)
    quoted = b'"' + name.encode() + b'"'
    field = quoted + b";q=%d;w=%d" % (rate.limit, -(-period // MICROSECONDS))
    end = f":{name}:{algorithm[0]}"
    return Limit(name, rate.limit, period, most, algorithm, interval, most * interval, quoted, field, end)
