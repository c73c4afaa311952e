"""Durations by bucket: four buckets for each power of two, so that a percentile is exact within 25 %."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from math import frexp, ldexp

from scalekit.telemetry import quantile

PERCENTILES = (0.5, 0.95, 0.99)
SHORTEST = 1e-6
"""Seconds below which durations are in one bucket."""


def duration_bucket(seconds: float) -> int:
    """Return the bucket of a duration of *seconds*."""
    mantissa, exponent = frexp(max(seconds, SHORTEST))  # the mantissa is from 1/2 to below 1
    return 4 * exponent + int(8 * mantissa) - 4


def count_durations(durations: Iterable[float]) -> dict[int, int]:
    """Return the number of *durations* by bucket.

    To sort many numbers, and to look for the ends of buckets, costs less than to compute the bucket of each.
    """
    ordered = sorted(durations)
    counts: dict[int, int] = {}
    begin = 0
    while begin < len(ordered):
        bucket = duration_bucket(ordered[begin])
        end = bisect_left(ordered, _lowest(bucket + 1), begin)
        counts[bucket] = end - begin
        begin = end
    return counts


def percentile(share: float, counts: Mapping[int, float]) -> float | None:
    """Return the seconds that *share* (0 to 1) of the durations in *counts* do not exceed, or None without any."""
    return quantile(share, ((_lowest(bucket), _lowest(bucket + 1), counts[bucket]) for bucket in sorted(counts)))


def _lowest(bucket: int) -> float:
    """Return the shortest duration of *bucket* in seconds."""
    exponent, quarter = divmod(bucket, 4)
    return ldexp(4 + quarter, exponent - 3)
