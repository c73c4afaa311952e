"""Count and measure.

A metric is declared once, as a value of a module; its numbers belong to one application, so two applications in one
process do not meet. ``DECLARATION(request, *labels)`` is the series to record in, in an application's handler;
``context.get(TELEMETRY).series(DECLARATION, *labels)`` the same for a plugin, which binds it once and keeps it. While
no plugin exports what is recorded, nothing is recorded.
"""

from scalekit.telemetry.alerts import Alert
from scalekit.telemetry.declarations import TELEMETRY, Counter, Declaration, Gauge, Histogram, catalogue, declared_in
from scalekit.telemetry.recording import Silence, Telemetry

__all__ = [
    "TELEMETRY",
    "Alert",
    "Counter",
    "Declaration",
    "Gauge",
    "Histogram",
    "Silence",
    "Telemetry",
    "catalogue",
    "declared_in",
]
