"""The table ``[plugins.tracing]``."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scalekit import AppName, Duration, HttpUrl, Networks, PositiveDuration, Secret, Table, TextPattern
from scalekit_tracing.dsn import parse_dsn

PRIVATE_NETWORKS: Networks = tuple(
    map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7"))
)
HEADER_NAME = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
HeaderName = Annotated[str, TextPattern(HEADER_NAME, 'the name of a header, such as "api-key"')]


def _check_dsn(dsn: Secret) -> Secret:
    parse_dsn(dsn.get_secret_value())
    return dsn


class SamplingConfig(Table):
    """Which traces are kept; the decision is made at the end of the request."""

    ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of new traces that are kept, chosen by their trace id, 0 to 1."""
    parent_networks: Networks = PRIVATE_NETWORKS
    """Networks of the clients whose traces are continued, and kept when they are sampled (``traceparent``)."""
    errors: bool = True
    """Keep a trace whose request failed: an unhandled exception, or a status of 500 and above."""
    slow_threshold: Duration = Duration("1s")
    """Keep a trace whose request takes longer; ``"0s"`` turns this off."""
    slow_quantile: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Keep a trace that takes longer than this quantile of its route's latest requests; 0 turns this off."""
    max_traces_per_second: Annotated[float, Field(gt=0)] = 10.0
    """Maximum rate of kept traces of each worker: failed and slow ones, those that clients sampled, and others."""


class ErrorsConfig(Table):
    """Where unhandled exceptions are reported: a Sentry-compatible server."""

    dsn: Annotated[Secret, AfterValidator(_check_dsn)] | None = None
    """The data source name of the project, ``https://KEY@HOST/PROJECT``; unset reports nothing."""
    release: str = ""
    """Release of the service, such as a version or commit."""
    environment: str = ""
    """Environment of the service, such as ``production``."""
    repeat_interval: Duration = Duration("1m")
    """Time after which an equal exception is reported again."""
    max_per_second: Annotated[float, Field(gt=0)] = 1.0
    """Maximum rate of reports of each worker."""


class TracingConfig(Table):
    """Where spans are sent, and which traces are kept."""

    exporter: Literal["otlp", "none"] | None = None
    """Where kept traces are sent; with ``none`` only the console shows them. Unset reads ``OTEL_TRACES_EXPORTER``, and
    without it means ``otlp``."""
    endpoint: HttpUrl | None = None
    """Base URL of an OTLP collector, to which ``/v1/traces`` is appended; unset reads ``OTEL_EXPORTER_OTLP_ENDPOINT``,
    and without it means ``http://127.0.0.1:4318``."""
    headers: dict[HeaderName, Secret] = {}
    """Request headers for the collector, such as an API key."""
    encoding: Literal["protobuf", "json"] | None = None
    """Encoding of requests; unset reads ``OTEL_EXPORTER_OTLP_PROTOCOL``, and without it means ``protobuf``."""
    compression: Literal["gzip", "none"] = "gzip"
    """Compression of requests."""
    timeout: PositiveDuration = Duration("10s")
    """Timeout of a request to the collector."""
    export_interval: PositiveDuration = Duration("1s")
    """Maximum time that a kept trace waits before it is sent."""
    max_queued_spans: Annotated[int, Field(ge=1000)] = 20_000
    """Maximum number of spans that wait for the collector; further traces are discarded and counted."""
    service: Annotated[str, AppName()] = ""
    """Name of the service; defaults to ``[app] name``, then to ``OTEL_SERVICE_NAME``."""
    resource: dict[str, str] = {}
    """Further attributes of the resource, such as ``"deployment.environment.name" = "production"``."""
    redact: tuple[Annotated[str, Field(min_length=2)], ...] = ()
    """Further names of secret attributes, and of values in texts, as in ``[plugins.logging]``."""
    sampling: SamplingConfig = SamplingConfig()
    """Which traces are kept."""
    errors: ErrorsConfig = ErrorsConfig()
    """Where unhandled exceptions are reported: a Sentry-compatible server."""
    explain: bool = False
    """Respond to operators that send ``ScaleKit-Explain: 1`` with the spans of their request, as a tree."""
    server_timing: Literal["off", "operators", "trace"] = "off"
    """Add ``Server-Timing`` to responses: durations and the trace for operators; with ``trace``, the trace for all."""
    opentelemetry_api: bool = True
    """Record the spans of libraries that use ``opentelemetry-api``, unless the application sets a tracer
    provider."""
    client_address: bool = False
    """Record the client's address (``client.address``), which is personal data."""
