"""When ScaleKit is the tracer provider of a process; a process has one provider, and one for all of its time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.service import ROOT

COMMON = """
import asyncio, logging, sys
from opentelemetry import context, trace
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from scalekit import create_app
from scalekit.testing import request, running
from tests.tracing.span_receiver import span_receiver
from tests.tracing.test_filters import settings

async def handle(request):
    with trace.get_tracer("shop").start_as_current_span("theirs"):
        return PlainTextResponse("")

async def names(lifespan=None, **options):
    with span_receiver() as receiver:
        configured = settings(receiver)
        configured["plugins"]["tracing"].update(options)
        app = create_app(configured, app=Starlette(routes=[Route("/", handle)], lifespan=lifespan))
        async with running(app) as state:
            await request(app, "/", state=state)
    return sorted(span["name"] for span in receiver.spans())
"""

TWO_APPLICATIONS = """
before = context.attach(context.set_value("key", "value"))

async def main():
    assert await names(opentelemetry_api=False) == ["GET /"]
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider), "none is registered"
    assert await names() == ["GET /", "theirs"]
    provider = trace.get_tracer_provider()
    assert context.get_value("key") == "value"
    assert await names(opentelemetry_api=False) == ["GET /"]
    assert await names() == ["GET /", "theirs"]
    assert trace.get_tracer_provider() is provider

asyncio.run(main())
context.detach(before)
assert context.get_value("key") is None
"""

PROVIDER_OF_THE_APPLICATION = """
from contextlib import asynccontextmanager

class Theirs(trace.NoOpTracerProvider):
    pass

@asynccontextmanager
async def lifespan(app):
    trace.set_tracer_provider(Theirs())
    yield

before = context._RUNTIME_CONTEXT
assert asyncio.run(names(lifespan)) == ["GET /"]
assert type(trace.get_tracer_provider()) is Theirs
assert context._RUNTIME_CONTEXT is before
"""

UNKNOWN_VERSION = """
class Records(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())

lines = []
logging.getLogger("scalekit.tracing").addHandler(Records())
del context._RUNTIME_CONTEXT
from scalekit_tracing.opentelemetry.registration import register_provider
register_provider()
assert len(lines) == 1 and " is not supported: " in lines[0], lines
assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
"""

NOT_INSTALLED = """
import asyncio, sys
sys.modules["opentelemetry"] = None
from scalekit import create_app
from scalekit.testing import request, running
from starlette.responses import PlainTextResponse

async def main():
    app = create_app({"plugins": {"tracing": {"exporter": "none"}}}, app=PlainTextResponse("served"))
    async with running(app) as state:
        assert (await request(app, "/", state=state)).body == b"served"

asyncio.run(main())
"""

OFF = """
import asyncio, sys
from scalekit import create_app
from scalekit.testing import running
from starlette.responses import PlainTextResponse

async def main():
    app = create_app({"plugins": {"tracing": {"opentelemetry_api": False}}}, app=PlainTextResponse("served"))
    async with running(app):
        assert not [name for name in sys.modules if name.split(".")[0] == "opentelemetry"]

asyncio.run(main())
"""

PROGRAMS = {
    "two applications": COMMON + TWO_APPLICATIONS,
    "provider of the application": COMMON + PROVIDER_OF_THE_APPLICATION,
    "unknown version": COMMON + UNKNOWN_VERSION,
    "not installed": NOT_INSTALLED,
    "off": OFF,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_registration(name: str) -> None:
    command = [sys.executable, "-c", PROGRAMS[name]]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (finished.returncode, finished.stderr) == (0, "")
