"""The readiness probe while a dependency hangs."""

import asyncio

from scalekit import Check, create_app
from scalekit.host import Host
from tests.bench.cases import starlette_bare

PATH = "/health/ready"
BODY = b'{"status":"ready"}'


def make() -> Host:
    host = create_app({"health": {"external": {"hanging": "http://127.0.0.1:1/"}}}, app=starlette_bare.make())
    (result,) = host.monitor.results.values()
    result.check = Check("hanging", asyncio.Event().wait, critical=False, timeout=3600.0)
    return host
