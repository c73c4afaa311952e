"""A server that receives OTLP over HTTP and stores the spans as JSON."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.processes import HOST, wait_for

Reply = tuple[int, dict[str, str], bytes]
ACCEPTED: Reply = (200, {}, b"")


@dataclass
class ReceivedRequest:
    """One request: its path and headers, and its body as JSON of OTLP."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    def spans(self) -> list[dict[str, Any]]:
        return [span for each in self.body["resourceSpans"] for scope in each["scopeSpans"] for span in scope["spans"]]


@dataclass
class SpanReceiver:
    """The requests that were accepted; *replies* are sent first, before requests are accepted."""

    port: int = 0
    requests: list[ReceivedRequest] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    refused: int = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def spans(self) -> list[dict[str, Any]]:
        return [span for request in list(self.requests) for span in request.spans()]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.spans() if span["name"] == name]

    def wait(self, what: str, condition: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
        """Wait until the *condition* holds for the received spans, and return them."""
        wait_for(what, lambda: condition(self.spans()))
        return self.spans()

    def receive(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if self.replies:
            self.refused += 1
            return self.replies.pop(0)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.requests.append(ReceivedRequest(path, headers, decoded(headers["content-type"], body)))
        return ACCEPTED


def decoded(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the request *body* as JSON of OTLP, with ids in hexadecimal."""
    if content_type == "application/json":
        parsed: dict[str, Any] = json.loads(body)
        return parsed
    message = ExportTraceServiceRequest.FromString(body)
    found: dict[str, Any] = MessageToDict(message, use_integers_for_enums=True)
    for resource, resource_message in zip(found["resourceSpans"], message.resource_spans, strict=True):
        for scope, scope_message in zip(resource["scopeSpans"], resource_message.scope_spans, strict=True):
            for span, span_message in zip(scope["spans"], scope_message.spans, strict=True):
                span["traceId"], span["spanId"] = span_message.trace_id.hex(), span_message.span_id.hex()
                if span_message.parent_span_id:
                    span["parentSpanId"] = span_message.parent_span_id.hex()
                for link, link_message in zip(span.get("links", ()), span_message.links, strict=True):
                    link["traceId"], link["spanId"] = link_message.trace_id.hex(), link_message.span_id.hex()
    return found


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of *span* as Python values."""
    return {each["key"]: _value(each["value"]) for each in span.get("attributes", ())}


def _value(value: dict[str, Any]) -> Any:
    if not value:
        return None
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        return [_value(each) for each in content.get("values", ())]
    return int(content) if kind == "intValue" else content


@contextmanager
def span_receiver(*replies: Reply, port: int = 0) -> Generator[SpanReceiver, None, None]:
    """Run a receiver while inside, which first sends *replies*."""
    receiver = SpanReceiver(replies=list(replies))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): str(value) for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            status, sent, content = receiver.receive(self.path, headers, body)
            self.send_response(status)
            for name, value in {**sent, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((HOST, port), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
