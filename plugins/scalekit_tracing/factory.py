"""Create tracer and exporter of one application."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import getpid
from socket import gethostname
from time import monotonic

from scalekit import SERVER_INFO, WORKER, Context, Redactor, Secret
from scalekit.contracts import KEPT_TRACES
from scalekit.telemetry import TELEMETRY, Trace
from scalekit_tracing.config import ErrorsConfig, TracingConfig
from scalekit_tracing.dsn import parse_dsn
from scalekit_tracing.errors.error_event import ErrorEvent
from scalekit_tracing.errors.reporter import ErrorReporter
from scalekit_tracing.errors.sink import SentrySink
from scalekit_tracing.exporter import Exporter
from scalekit_tracing.kept_trace import KeptTrace
from scalekit_tracing.metrics import ErrorMetrics, TracingMetrics
from scalekit_tracing.otlp.endpoint import endpoint_of, exports_spans, resource_attributes
from scalekit_tracing.otlp.resource import ServiceResource, resource_of
from scalekit_tracing.otlp.sink import OtlpSink
from scalekit_tracing.sampling import Sampler
from scalekit_tracing.tracer import OwnTrace, SamplingTracer

MAX_QUEUED_ERRORS = 1000
"""Errors that wait for the server; further ones are discarded and counted."""
UNKNOWN_SERVICE = "unknown_service:python"
"""The name of a service without one (OpenTelemetry semantic conventions, service.name)."""


class Tracing:
    """The *tracer* of one application, and its exporters while the application runs."""

    def __init__(self, context: Context) -> None:
        config = context.config(TracingConfig)
        self._context = context
        self._config = config
        self._metrics = TracingMetrics(context.get(TELEMETRY))
        self._spans: Exporter[KeptTrace] | None = None
        self._errors: Exporter[ErrorEvent] | None = None
        trace_type = Trace if config.opentelemetry_api else OwnTrace
        self.tracer = SamplingTracer(Sampler(config.sampling), self._export, self._metrics, trace_type)
        self.tracer.kept = context.get(KEPT_TRACES) if context.has(KEPT_TRACES) else None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the exporters of spans and of errors."""
        config, redactor = self._config, redactor_of(self._context)
        resource = _resource(self._context, config, environment)
        if exports_spans(config, environment):
            sink = OtlpSink(endpoint_of(config, environment), resource, redactor)
            self._spans = Exporter(sink, self._metrics, config.export_interval, config.max_queued_spans)
            self._spans.start()
        if config.errors.dsn is not None:
            self.tracer.errors = self._start_errors(config.errors, config.errors.dsn, resource, redactor.redact)

    def stop(self, timeout: float) -> None:
        """Send what is queued, for *timeout* seconds at most, and stop the exporters."""
        until = monotonic() + timeout
        self.tracer.errors = None
        exporters = [each for each in (self._errors, self._spans) if each is not None]
        for exporter in exporters:  # together: one that waits for its server must not take the time of the other
            exporter.finish(timeout)
        for exporter in exporters:
            exporter.stop(max(0.0, until - monotonic()))
        self._errors = self._spans = None

    def error(self) -> str:
        """Return why spans or errors cannot be sent; empty when they can."""
        running = {"spans": self._spans, "errors": self._errors}
        return "; ".join(f"{what}: {each.error}" for what, each in running.items() if each is not None and each.error)

    def _start_errors(
        self, config: ErrorsConfig, dsn: Secret, resource: ServiceResource, redact: Callable[[str], str]
    ) -> ErrorReporter:
        server = {"server_name": gethostname(), "release": config.release, "environment": config.environment}
        attributes = {name: value for name, value in server.items() if value}
        parsed, timeout = parse_dsn(dsn.get_secret_value()), self._config.timeout
        sink = SentrySink(parsed, resource, attributes, redact, timeout)
        metrics = ErrorMetrics(self._context.get(TELEMETRY))
        self._errors = Exporter(sink, metrics, self._config.export_interval, MAX_QUEUED_ERRORS)
        self._errors.start()
        return ErrorReporter(self._errors, metrics, config.repeat_interval, config.max_per_second)

    def _export(self, trace: KeptTrace) -> None:
        if self.tracer.kept is not None:
            self.tracer.kept.add(trace.trace, trace.records)
        if self._spans is not None:
            self._spans.add(trace)


def create_tracing(context: Context) -> Tracing:
    """Return the tracing of *context*, which is not started."""
    return Tracing(context)


def redactor_of(context: Context) -> Redactor:
    """Return what masks secrets in spans and errors."""
    return Redactor(context.config(TracingConfig).redact, context.redact)


def verify(context: Context, environment: Mapping[str, str]) -> None:
    """Raise ConfigError when the table or a variable of *environment* has no valid value."""
    config = context.config(TracingConfig)
    exports_spans(config, environment)
    endpoint_of(config, environment)
    _resource(context, config, environment)


def _resource(context: Context, config: TracingConfig, environment: Mapping[str, str]) -> ServiceResource:
    service = config.service or context.name or environment.get("OTEL_SERVICE_NAME", "") or UNKNOWN_SERVICE
    attributes = {**resource_attributes(environment), **config.resource}
    return resource_of(service, attributes, _instance(context))


def _instance(context: Context) -> str:
    """Return a name of this process that no other process of the service has now."""
    worker = context.get(WORKER) if context.has(WORKER) else ""
    address = context.get(SERVER_INFO) if context.has(SERVER_INFO) else None
    place = f"{address.host}:{address.port}" if address is not None else ""
    return "-".join(filter(None, (gethostname(), place, worker, str(getpid()))))
