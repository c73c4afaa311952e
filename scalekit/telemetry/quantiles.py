"""Estimate quantiles of observations that are counted by bucket."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Bucket = tuple[float, float, float]
"""The lower and the upper bound of a bucket, and the number of observations in it."""


def quantile(share: float, buckets: Iterable[Bucket]) -> float | None:
    """Return the value that *share* (0 to 1) of the observations do not exceed, or None without observations.

    *buckets* ascend. Within a bucket observations count as spread evenly.
    """
    found = [bucket for bucket in buckets if bucket[2]]
    left = share * sum(count for _, _, count in found)
    for lower, upper, count in found:
        if count >= left:
            return lower + (upper - lower) * left / count
        left -= count
    return found[-1][1] if found else None  # what is left is an error of rounding


def histogram_quantile(share: float, bounds: Sequence[float], counts: Sequence[int]) -> float | None:
    """Return the quantile of a histogram with the upper *bounds* and the *counts* of its buckets, as Prometheus does.

    The last count is of observations above all bounds, whose quantile is the highest bound.
    """
    return quantile(share, zip((0.0, *bounds), (*bounds, bounds[-1]), counts, strict=True))
