"""What is counted."""

from __future__ import annotations

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Telemetry

CALLS = Counter("scalekit_discovery_calls", "Calls to a service.", ("service", "outcome"))
RETRIES = Counter("scalekit_discovery_retries", "Further attempts that calls got.", ("service",))
REFUSED_RETRIES = Counter("scalekit_discovery_refused_retries", "Attempts that the budget did not allow.", ("service",))
EJECTIONS = Counter("scalekit_discovery_ejections", "Times that an instance was left out.", ("service",))
SECONDS = Histogram("scalekit_discovery_call_seconds", "Time until the answer of a service began.", ("service",))
INSTANCES = Gauge("scalekit_discovery_instances", "Instances that are known.", ("service",), multiprocess_mode="max")
FRESH = Gauge(
    "scalekit_discovery_fresh",
    "Whether the source of the instances answers.",
    ("service",),
    multiprocess_mode="min",
    alert=Alert("Where instances are is not known any more; the last that were known are used.", beyond="<", bound=1),
)
REGISTERED = Gauge(
    "scalekit_discovery_registered",
    "Whether this instance is registered.",
    multiprocess_mode="max",
    alert=Alert("An instance is not registered: others do not find it.", beyond="<", bound=1),
)
OUTCOMES = ("answered", "failed", "refused")


class ServiceMetrics:
    """The numbers of the service *name*."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self.answered, self.failed, self.refused = (telemetry.series(CALLS, name, outcome) for outcome in OUTCOMES)
        self.retries = telemetry.series(RETRIES, name)
        self.refused_retries = telemetry.series(REFUSED_RETRIES, name)
        self.ejections = telemetry.series(EJECTIONS, name)
        self.seconds = telemetry.series(SECONDS, name)
        self.instances = telemetry.series(INSTANCES, name)
        self.fresh = telemetry.series(FRESH, name)
