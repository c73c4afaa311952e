"""The service that exports spans, as attributes of the resource (OpenTelemetry semantic conventions)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import NamedTuple

from scalekit.telemetry import FinishedSpan

SCOPE = "scalekit"
"""Name of the instrumentation scope of spans without another one."""
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


def spans_by_scope(version: str, spans: Iterable[FinishedSpan]) -> dict[tuple[str, str], list[FinishedSpan]]:
    """Return *spans* by the name and version of their instrumentation scope; *version* is that of ScaleKit."""
    own = (SCOPE, version)
    found: dict[tuple[str, str], list[FinishedSpan]] = {}
    for span in spans:
        found.setdefault(span.scope or own, []).append(span)
    return found
