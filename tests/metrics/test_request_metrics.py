from __future__ import annotations

from scalekit.telemetry import Telemetry
from scalekit_metrics.request_metrics import RequestMetrics


def test_known_ends_share_their_series_and_unknown_methods_share_one() -> None:
    recorder = RequestMetrics(Telemetry(100), (1.0,))
    outcome = recorder.outcome("GET", "/", 200)
    assert recorder.outcome("GET", "/", 200) is outcome
    assert recorder.outcome("GET", "/", 201).duration is not outcome.duration
    assert recorder.outcome("GET", "/", 201).sent is outcome.sent
    assert recorder.outcome("BREW", "/", 200).duration is recorder.outcome("GREET", "/", 200).duration


def test_what_is_remembered_is_bounded() -> None:
    recorder = RequestMetrics(Telemetry(10), (1.0,))
    for number in range(100):
        recorder.outcome(f"METHOD{number}", "/", 200)
    assert len(recorder._outcomes) == 0
    for number in range(100):
        recorder.outcome("GET", f"/{number}", 200)
    assert len(recorder._outcomes) == 10
    assert recorder.outcome("GET", "/98", 200).duration is recorder.outcome("GET", "/99", 200).duration
