"""Starlette with four spans of the application in each request, which nobody records."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.host import Host
from scalekit.telemetry import span
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
SPANS = 4


async def data(request: Request) -> JSONResponse:
    for number in range(SPANS):
        with span("step", number=number):
            pass
    return JSONResponse(starlette_bare.PAYLOAD)


def make(**plugins: object) -> Host:
    return create_app({"plugins": plugins}, app=Starlette(routes=[Route(PATH, data)]))


app = make()
