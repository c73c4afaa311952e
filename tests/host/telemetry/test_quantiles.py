from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.telemetry import histogram_quantile, quantile

COUNTS = st.lists(st.integers(0, 1000) | st.floats(0, 100), min_size=1, max_size=10)
SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([0, 0, 0, 0], None),
        ([10, 0, 0, 0], 0.95),
        ([0, 10, 0, 0], 1.95),
        ([0, 0, 0, 10], 3.0),
        ([95, 0, 5, 0], 1.0),
        ([94, 0, 6, 0], 2 + 1 / 6),
    ],
)
def test_quantiles_are_interpolated_as_prometheus_does(counts: list[int], expected: float | None) -> None:
    found = histogram_quantile(0.95, (1.0, 2.0, 3.0), counts)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_quantile_is_in_the_bucket_of_its_observation() -> None:
    buckets = [(0.0, 1.0, 2), (1.0, 5.0, 0), (5.0, 7.0, 1), (10.0, 20.0, 1)]
    assert [quantile(share, buckets) for share in (0, 0.25, 0.5, 0.75, 1)] == [0.0, 0.5, 1.0, 7.0, 20.0]


@given(COUNTS, SHARES, SHARES)
def test_quantiles_ascend_and_stay_within_the_bounds(counts: list[float], one: float, two: float) -> None:
    buckets = [(float(place), place + 1.0, count) for place, count in enumerate(counts)]
    lower, upper = (quantile(share, buckets) for share in sorted((one, two)))
    if any(counts):
        assert lower is not None
        assert upper is not None
        assert 0 <= lower <= upper * (1 + 1e-9) <= len(counts) + 1e-6
    else:
        assert (lower, upper) == (None, None)


def test_counts_must_be_those_of_the_bounds() -> None:
    with pytest.raises(ValueError, match="shorter"):
        histogram_quantile(0.5, (1.0, 2.0), [1, 1])
