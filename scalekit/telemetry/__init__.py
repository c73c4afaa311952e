"""Count and measure.

A metric is declared once, as a value of a module; its numbers belong to one application, so two applications in one
process do not meet. ``DECLARATION(request, *labels)`` is the series to record in, in an application's handler;
``context.get(TELEMETRY).series(DECLARATION, *labels)`` the same for a plugin, which binds it once and keeps it. While
no plugin exports what is recorded, nothing is recorded.
"""

from scalekit.telemetry.alerts import Alert
from scalekit.telemetry.instruments import (
    DEFAULT_BUCKETS,
    TELEMETRY,
    Counter,
    Gauge,
    Histogram,
    Instrument,
    catalogue,
    instruments_in,
)
from scalekit.telemetry.registry import NullTelemetry, Telemetry
from scalekit.telemetry.series import CounterSeries, GaugeSeries, HistogramSeries
from scalekit.telemetry.snapshot import LabelValues, MetricFamilies, MetricFamily

__all__ = [
    "DEFAULT_BUCKETS",
    "TELEMETRY",
    "Alert",
    "Counter",
    "CounterSeries",
    "Gauge",
    "GaugeSeries",
    "Histogram",
    "HistogramSeries",
    "Instrument",
    "LabelValues",
    "MetricFamilies",
    "MetricFamily",
    "NullTelemetry",
    "Telemetry",
    "catalogue",
    "instruments_in",
]
