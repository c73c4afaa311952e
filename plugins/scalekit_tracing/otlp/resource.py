"""The service that exports spans, as attributes of the resource (OpenTelemetry semantic conventions)."""

from __future__ import annotations

from importlib.metadata import version
from typing import NamedTuple

SCOPE = "scalekit"
"""Name of the instrumentation scope of all spans."""
DISTRIBUTION = "scalekit-asgi"


class ServiceResource(NamedTuple):
    """Attributes of the service, and the *version* of the instrumentation."""

    attributes: dict[str, str]
    version: str


def resource_of(service: str, attributes: dict[str, str], instance: str) -> ServiceResource:
    """Return the resource of the process *instance* of *service*; *attributes* are those of the operator."""
    own = version(DISTRIBUTION)
    described = {
        "service.name": service,
        "service.instance.id": instance,
        "telemetry.sdk.name": "scalekit",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": own,
    }
    return ServiceResource({**described, **attributes}, own)
