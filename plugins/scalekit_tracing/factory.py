"""Create tracer and exporter of one application."""

from __future__ import annotations

from collections.abc import Mapping
from os import getpid
from socket import gethostname

from scalekit import SERVER_INFO, WORKER, Context
from scalekit.telemetry import TELEMETRY
from scalekit_tracing.config import TracingConfig
from scalekit_tracing.exporter import Exporter
from scalekit_tracing.metrics import TracingMetrics
from scalekit_tracing.otlp.endpoint import endpoint_of, resource_attributes
from scalekit_tracing.otlp.resource import Resource, resource_of
from scalekit_tracing.otlp.sink import OtlpSink
from scalekit_tracing.sampling import Sampler
from scalekit_tracing.tracer import KeptTrace, Tracer

UNKNOWN_SERVICE = "unknown_service:python"
"""The name of a service without one (OpenTelemetry semantic conventions, service.name)."""


class Tracing:
    """The *tracer* of one application, and its exporter while the application runs."""

    def __init__(self, context: Context) -> None:
        config = context.config(TracingConfig)
        self._context = context
        self._config = config
        self._metrics = TracingMetrics(context.get(TELEMETRY))
        self._exporter: Exporter | None = None
        self.tracer = Tracer(Sampler(config.sampling), self._export, self._metrics)

    def start(self, environment: Mapping[str, str]) -> Exporter:
        """Start the exporter and return it."""
        config = self._config
        endpoint = endpoint_of(config, environment)
        resource = _resource(self._context, config, environment)
        sink = OtlpSink(endpoint, resource, self._context.redact)
        self._exporter = Exporter(sink, self._metrics, config.export_interval, config.max_queued_spans)
        self._exporter.start()
        return self._exporter

    def error(self) -> str:
        """Return why spans cannot be exported; empty when they can."""
        return self._exporter.error if self._exporter is not None else ""

    def _export(self, trace: KeptTrace) -> None:
        if self._exporter is not None:
            self._exporter.add(trace)


def create_tracing(context: Context) -> Tracing:
    """Return the tracing of *context*, which is not started."""
    return Tracing(context)


def verify(context: Context, environment: Mapping[str, str]) -> None:
    """Raise ConfigError when the table or a variable of *environment* has no valid value."""
    config = context.config(TracingConfig)
    endpoint_of(config, environment)
    _resource(context, config, environment)


def _resource(context: Context, config: TracingConfig, environment: Mapping[str, str]) -> Resource:
    service = config.service or context.name or environment.get("OTEL_SERVICE_NAME", "") or UNKNOWN_SERVICE
    attributes = {**resource_attributes(environment), **config.resource}
    return resource_of(service, attributes, _instance(context))


def _instance(context: Context) -> str:
    """Return a name of this process that no other process of the service has now."""
    worker = context.get(WORKER) if context.has(WORKER) else ""
    address = context.get(SERVER_INFO) if context.has(SERVER_INFO) else None
    place = f"{address.host}:{address.port}" if address is not None else ""
    return "-".join(filter(None, (gethostname(), place, worker, str(getpid()))))
