"""Prometheus metrics of discovery and of outgoing calls."""

from __future__ import annotations

from scalekit.telemetry import Alert, Counter, Gauge, Histogram, Telemetry

CALLS = Counter("scalekit_discovery_calls", "Calls of a service.", ("service", "outcome"))
RETRIES = Counter("scalekit_discovery_retries", "Retries of calls.", ("service",))
DENIED_RETRIES = Counter("scalekit_discovery_denied_retries", "Retries that the retry budget denied.", ("service",))
EJECTIONS = Counter("scalekit_discovery_ejections", "Outlier ejections of instances.", ("service",))
CROSS_ZONE_ATTEMPTS = Counter(
    "scalekit_discovery_cross_zone_attempts", "Attempts that left the zone of this process for capacity.", ("service",)
)
DURATION = Histogram(
    "scalekit_discovery_call_duration_seconds", "Duration of calls until the head of the response.", ("service",)
)
INSTANCES = Gauge("scalekit_discovery_instances", "Known instances.", ("service",), multiprocess_mode="max")
SOURCE_UP = Gauge(
    "scalekit_discovery_source_up",
    "Whether the source of the instances is available.",
    ("service",),
    multiprocess_mode="min",
    alert=Alert(
        "The source of instances is unavailable; the last known instances are used.",
        "Calls go on, to instances that may be gone: failed ones are ejected. The health check of discovery"
        " names the source (Consul, a DNS server or the API of Kubernetes) and its error.",
        operator="<",
        threshold=1,
    ),
)
REGISTERED = Gauge(
    "scalekit_discovery_registered",
    "Whether this instance is registered in Consul.",
    multiprocess_mode="max",
    alert=Alert(
        "An instance is not registered; other services do not call it.",
        "Consul does not respond or refuses the registration, which is retried: see the health check of discovery for"
        " its error, such as a missing permission of the token.",
        operator="<",
        threshold=1,
    ),
)
OUTCOMES = ("response", "failed", "no_instance")


class ServiceMetrics:
    """Records the calls and instances of the service *name*."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self.responses, self.failures, self.no_instance = (telemetry.series(CALLS, name, each) for each in OUTCOMES)
        self.retries = telemetry.series(RETRIES, name)
        self.denied_retries = telemetry.series(DENIED_RETRIES, name)
        self.ejections = telemetry.series(EJECTIONS, name)
        self.cross_zone_attempts = telemetry.series(CROSS_ZONE_ATTEMPTS, name)
        self.duration = telemetry.series(DURATION, name)
        self.instances = telemetry.series(INSTANCES, name)
        self.source_up = telemetry.series(SOURCE_UP, name)
