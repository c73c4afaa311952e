"""The attributes of all spans, events and resources are in a table, with the stability of their convention."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from scalekit_tracing.filters import KNOWN_METHODS

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
    "scalekit.dropped_spans",
    "scalekit.instance",
    "scalekit.pool",
    "scalekit.query_budget.problem",
    "scalekit.queue.attempt",
    "scalekit.service",
}
"""Ours, for what the conventions have no name."""

SOURCES = [
    *ROOT.glob("plugins/scalekit_*/spans.py"),
    *ROOT.glob("plugins/lib/scalekit_*/spans.py"),
    *(ROOT / "plugins/scalekit_tracing").glob("*.py"),
    ROOT / "plugins/scalekit_tracing/otlp/resource.py",
    ROOT / "plugins/scalekit_cache/not_stored.py",
    ROOT / "plugins/scalekit_pool/query_budget.py",
    ROOT / "scalekit/http/trace_recorder.py",
    ROOT / "scalekit/http/filter_chain.py",
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
