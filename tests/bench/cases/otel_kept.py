"""Starlette with OpenTelemetry's SDK: the instrumentation of ASGI, four spans of the application, all exported."""

from typing import Any

from discarding_collector import start_collector
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from otel_bare import BODY, PATH, PAYLOAD
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["BODY", "PATH"]

SPANS = 4
provider = TracerProvider()
exporter = OTLPSpanExporter(f"{start_collector()}/v1/traces")
provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=10_000_000))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer(__name__)


async def data(request: Request) -> JSONResponse:
    for number in range(SPANS):
        with tracer.start_as_current_span("step", attributes={"number": number}):
            pass
    return JSONResponse(PAYLOAD)


def make() -> Any:
    return OpenTelemetryMiddleware(Starlette(routes=[Route(PATH, data)]), exclude_spans=["receive", "send"])


app = make()
