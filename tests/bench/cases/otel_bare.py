"""Starlette, in the environment of OpenTelemetry."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

PATH = "/api/data"
PAYLOAD = {"items": [{"id": number, "name": f"item-{number}", "price": 9.99 + number} for number in range(10)]}
BODY = JSONResponse(PAYLOAD).body


async def data(request: Request) -> JSONResponse:
    return JSONResponse(PAYLOAD)


def make() -> Starlette:
    return Starlette(routes=[Route(PATH, data)])


app = make()
