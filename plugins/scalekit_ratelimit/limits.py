"""Limits of the generic cell rate algorithm (GCRA, ITU-T I.371), in whole microseconds.

GCRA stores one timestamp for each key, the theoretical arrival time (TAT): the moment at which the whole burst is
available again. The emission interval is rounded up, so that rounding never lets a request above the limit through, and
all numbers stay below 2^53, where Lua's doubles are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from scalekit import Rate

Algorithm = Literal["gcra", "sliding-window"]

MICROSECONDS = 1_000_000
MAX_WINDOW_REQUESTS = 10_000
"""Largest quota of an exact sliding window, which stores a timestamp for each request."""
MAX_PERIOD_DAYS = 366


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity: limits are dictionary keys
class Limit:
    """At most *quota* requests in *window* microseconds, *burst* of them at once.

    *tolerance* is the burst in microseconds. *quoted_name* and *policy_item* are the parts of the ``RateLimit`` and
    ``RateLimit-Policy`` headers that never change; *key_suffix* ends the Redis keys of this limit.
    """

    name: str
    quota: int
    window: int
    burst: int
    algorithm: Algorithm
    emission_interval: int
    tolerance: int
    quoted_name: bytes
    policy_item: bytes
    key_suffix: str


class LimitState(NamedTuple):
    """State after a hit; *reset* and *retry_after* are microseconds until the full quota and the next allowed hit."""

    allowed: bool
    remaining: int
    reset: int
    retry_after: int


class Hit(NamedTuple):
    """A request that costs *cost* of *limit* for *key*; with *dry_run* it never refuses."""

    limit: Limit
    key: str
    cost: int
    dry_run: bool


def make_limit(name: str, rate: Rate, burst: int | None = None, algorithm: Algorithm = "gcra") -> Limit:
    """Return the limit for *rate*; raises ValueError when it cannot be enforced exactly."""
    window = round(rate.period * MICROSECONDS)
    allowed_burst = rate.limit if burst is None else burst
    _refuse_inexact(rate, window, allowed_burst, algorithm)
    interval = -(-window // rate.limit)
    quoted_name = b'"' + name.encode() + b'"'
    policy_item = quoted_name + b";q=%d;w=%d" % (rate.limit, -(-window // MICROSECONDS))
    return Limit(
        name,
        rate.limit,
        window,
        allowed_burst,
        algorithm,
        emission_interval=interval,
        tolerance=allowed_burst * interval,
        quoted_name=quoted_name,
        policy_item=policy_item,
        key_suffix=f":{name}:{algorithm[0]}",
    )


def _refuse_inexact(rate: Rate, window: int, burst: int, algorithm: Algorithm) -> None:
    if window < rate.limit:
        raise ValueError(f"limit {rate} is more than one request per microsecond; set a lower one")
    if window > MAX_PERIOD_DAYS * 86400 * MICROSECONDS:
        raise ValueError(f"limit {rate} has a period of more than a year; set a shorter one")
    if algorithm == "sliding-window" and rate.limit > MAX_WINDOW_REQUESTS:
        raise ValueError(
            f"limit {rate} is more than the {MAX_WINDOW_REQUESTS} requests that a sliding window stores;"
            ' set algorithm = "gcra"'
        )
    if burst > rate.limit:
        raise ValueError(f"burst {burst} is greater than limit {rate}; set at most {rate.limit}")
