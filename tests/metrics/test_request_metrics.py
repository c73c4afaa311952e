from __future__ import annotations

from scalekit.telemetry import Telemetry
from scalekit_metrics.request_metrics import RequestMetrics


def test_series_are_cached_and_unknown_methods_share_one() -> None:
    metrics = RequestMetrics(Telemetry(100), (1.0,))
    series = metrics.series("GET", "/", 200)
    assert metrics.series("GET", "/", 200) is series
    assert metrics.series("GET", "/", 201).duration is not series.duration
    assert metrics.series("GET", "/", 201).response_bytes is series.response_bytes
    assert metrics.series("BREW", "/", 200).duration is metrics.series("GREET", "/", 200).duration


def test_the_cache_is_bounded() -> None:
    metrics = RequestMetrics(Telemetry(10), (1.0,))
    for number in range(100):
        metrics.series(f"METHOD{number}", "/", 200)
    assert len(metrics._cache) == 0
    for number in range(100):
        metrics.series("GET", f"/{number}", 200)
    assert len(metrics._cache) == 10
    assert metrics.series("GET", "/98", 200).duration is metrics.series("GET", "/99", 200).duration
