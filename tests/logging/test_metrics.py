from __future__ import annotations

from scalekit.telemetry import Telemetry
from scalekit_logging.metrics import LoggingMetrics


def test_lines_are_counted_by_level_and_lost_lines_by_sink_and_reason() -> None:
    telemetry = Telemetry(100)
    metrics = LoggingMetrics(telemetry)
    metrics.count_written("info", 3)
    metrics.count_written("error", 1)
    metrics.count_lost("console", "broken pipe", 2)
    metrics.count_lost("console", "broken pipe", 2)
    families = telemetry.snapshot().families
    assert families["scalekit_logging_lines"].data == {
        ("debug",): 0,
        ("info",): 3,
        ("warning",): 0,
        ("error",): 1,
        ("critical",): 0,
    }
    assert families["scalekit_logging_lost_lines"].data == {("console", "broken pipe"): 4}
