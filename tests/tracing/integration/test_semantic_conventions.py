"""The kinds, names and attributes of all spans, events and resources are in tables, with their conventions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scalekit.http import filter_chain, trace_recorder
from scalekit.telemetry import SpanKind, SpanType, application_span
from scalekit_cache import spans as cache
from scalekit_discovery import spans as discovery
from scalekit_discovery.instances import ServiceInstance
from scalekit_discovery.load_balancer import Endpoint
from scalekit_discovery.spans import Attempt
from scalekit_pool import spans as pool
from scalekit_queue import spans as queue
from scalekit_redis import spans as redis
from scalekit_tracing import explain, filters
from scalekit_tracing.filters import KNOWN_METHODS, ServerRequest
from scalekit_tracing.opentelemetry import provider

ROOT = Path(__file__).parents[3]

STABLE = {
    "client.address",
    "code.file.path",
    "code.function.name",
    "code.line.number",
    "db.collection.name",
    "db.operation.batch.size",
    "db.operation.name",
    "db.query.summary",
    "db.query.text",
    "db.system.name",
    "error.type",
    "exception.message",
    "exception.stacktrace",
    "exception.type",
    "http.request.method",
    "http.request.method_original",
    "http.request.resend_count",
    "http.response.header.cache-status",
    "http.response.status_code",
    "http.route",
    "network.protocol.version",
    "server.address",
    "server.port",
    "service.name",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "url.full",
    "url.path",
    "url.scheme",
    "user_agent.original",
}
"""Stable in OpenTelemetry's semantic conventions."""

DEVELOPMENT = {
    "db.response.returned_rows",
    "http.response.body.size",
    "messaging.batch.message_count",
    "messaging.destination.name",
    "messaging.message.id",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.system",
    "service.instance.id",
}
"""In the conventions, which may still change: they have no stable name."""

OWN = {
    "scalekit.cache.outcome",
    "scalekit.cache.reason",
    "scalekit.dropped_attributes",
    "scalekit.dropped_spans",
    "scalekit.instance",
    "scalekit.pool",
    "scalekit.query_budget.problem",
    "scalekit.queue.attempt",
    "scalekit.service",
}
"""Ours, for what the conventions have no name."""


def served(method: str, route: str) -> tuple[ServerRequest]:
    return (ServerRequest(method, route, "/items/7", "http", "1.1", (), "", b"", 200, ()),)


def attempted(method: str, service: str) -> tuple[Attempt]:
    return (Attempt(service, method, "/stock", Endpoint(ServiceInstance("1", "127.0.0.1", 8000)), 0, 200),)


INTERNAL, SERVER, CLIENT = SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT
PRODUCER, CONSUMER = SpanKind.PRODUCER, SpanKind.CONSUMER
NAMES: list[tuple[SpanType, tuple[Any, ...], SpanKind, str]] = [
    # HTTP, stable: {method} {http.route}; HTTP for an unknown method
    (filters.SERVER_SPAN, served("GET", "/items/{id}"), SERVER, "GET /items/{id}"),
    (filters.SERVER_SPAN, served("GET", ""), SERVER, "GET"),
    (filters.SERVER_SPAN, served("BREW", "/pots/{id}"), SERVER, "HTTP /pots/{id}"),
    (explain.EXPLAINED_SPAN, ("GET", "/items/{id}", {}), SERVER, "GET /items/{id}"),
    (trace_recorder.REQUEST_SPAN, ("GET /items/7", {}), SERVER, "GET /items/7"),
    # HTTP, stable: {method} {target}, of low cardinality
    (discovery.ATTEMPT_SPAN, attempted("GET", "inventory"), CLIENT, "GET inventory"),
    # database, stable: {db.query.summary}, or {db.operation.name}
    (pool.STATEMENT_SPAN, ("sqlite", "primary", "select * from items", 1), CLIENT, "SELECT items"),
    (redis.COMMAND_SPAN, ("GET", 1), CLIENT, "GET"),
    (redis.COMMAND_SPAN, ("PIPELINE", 2), CLIENT, "PIPELINE"),
    # messaging, in development: {messaging.operation.name} {messaging.destination.name}
    (queue.PUBLISH_SPAN, ("sqlite", "sold", 1, "id"), PRODUCER, "publish sold"),
    (queue.STORE_SPAN, ("sqlite", "sold", 1, "id"), PRODUCER, "store sold"),
    (queue.RELAY_SPAN, ("sqlite", 3), CLIENT, "relay outbox"),
    (queue.DELIVERY_SPAN, ("sqlite", "sold", "id", 1), CONSUMER, "process sold"),
    # ours, for what the conventions have no name
    (pool.WAIT_SPAN, ("primary",), INTERNAL, "pool wait"),
    (cache.WAIT_SPAN, ("started",), INTERNAL, "cache single flight"),
    (cache.REFRESH_SPAN, (), INTERNAL, "cache refresh"),
    (filter_chain.WAIT_SPAN, (object.__new__(filters.TracingFilter).on_request,), INTERNAL, "tracing wait"),
]
"""Each kind of spans: values, and the kind and name that they result in."""

SOURCES = [
    *ROOT.glob("plugins/scalekit_*/spans.py"),
    *ROOT.glob("plugins/lib/scalekit_*/spans.py"),
    *(ROOT / "plugins/scalekit_tracing").glob("*.py"),
    *(ROOT / "plugins/scalekit_tracing/opentelemetry").glob("*.py"),
    ROOT / "plugins/scalekit_tracing/otlp/resource.py",
    ROOT / "plugins/scalekit_cache/not_stored_reasons.py",
    ROOT / "plugins/scalekit_pool/query_budget.py",
    ROOT / "scalekit/http/trace_recorder.py",
    ROOT / "scalekit/http/filter_chain.py",
    ROOT / "scalekit/telemetry/attributes.py",
    ROOT / "scalekit/telemetry/application_span.py",
    ROOT / "scalekit/telemetry/spans.py",
    ROOT / "scalekit/telemetry/finished_span.py",
]
"""Every module that makes a kind of spans, an event, or a resource."""


def keys(tree: ast.AST) -> Iterator[str]:
    """Yield the texts that are keys of a dictionary, or indices."""
    for node in ast.walk(tree):
        found: list[ast.expr | None] = []
        if isinstance(node, ast.Dict):
            found = list(node.keys)
        elif isinstance(node, ast.Subscript):
            found = [node.slice]
        for key in found:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value


def emitted() -> set[str]:
    found = {key for source in SOURCES for key in keys(ast.parse(source.read_text()))}
    return {key for key in found if re.fullmatch(r"[a-z_]+(\.[a-z_-]+)+", key)}


def test_every_attribute_is_in_the_table() -> None:
    assert emitted() == STABLE | DEVELOPMENT | OWN


@pytest.mark.parametrize(("span_type", "values", "kind", "name"), NAMES, ids=[each[-1] for each in NAMES])
def test_kinds_and_names(span_type: SpanType, values: tuple[Any, ...], kind: SpanKind, name: str) -> None:
    assert (span_type.kind, span_type.name(*values)) == (kind, name)
    attributes = span_type.attributes(*values)
    if "messaging.operation.name" in attributes:
        assert name == f"{attributes['messaging.operation.name']} {attributes['messaging.destination.name']}"
    assert attributes.get("db.query.summary", attributes.get("db.operation.name", name)) == name


def test_every_kind_of_spans_is_in_the_table() -> None:
    modules = (explain, filter_chain, trace_recorder, cache, discovery, pool, queue, redis, filters)
    kinds = {id(each) for module in modules for each in vars(module).values() if isinstance(each, SpanType)}
    assert kinds == {id(span_type) for span_type, *_ in NAMES}
    applications = (application_span, provider)  # the application chooses the names
    sources = {Path(str(module.__file__)) for module in (*modules, *applications)}
    assert {source for source in SOURCES if "SpanType(" in source.read_text()} == sources


def test_the_table_has_each_attribute_once() -> None:
    assert len(STABLE | DEVELOPMENT | OWN) == len(STABLE) + len(DEVELOPMENT) + len(OWN)
    assert all(name.startswith("scalekit.") for name in OWN)
    assert not any(name.startswith("scalekit.") for name in STABLE | DEVELOPMENT)


def test_every_module_that_makes_spans_or_events_is_checked() -> None:
    makes = re.compile(r"SpanType\(SpanKind|SpanType\(\n|\.add_event\(")
    sources = [*ROOT.glob("plugins/**/*.py"), *ROOT.glob("scalekit/**/*.py")]
    assert {source for source in sources if makes.search(source.read_text())} <= set(SOURCES)


def test_methods_are_those_of_the_conventions() -> None:
    """The nine of RFC 9110 and PATCH of RFC 5789; QUERY is known since conventions 1.38."""
    methods = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
    assert methods <= KNOWN_METHODS <= methods | {"QUERY"}
