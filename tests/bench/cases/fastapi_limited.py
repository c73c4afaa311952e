"""FastAPI with slowapi's limit by address, in memory, which no client reaches."""

from typing import Any

import fastapi_bare
from fastapi import FastAPI, Request, Response
from slowapi import Limiter
from slowapi.util import get_remote_address

PATH = fastapi_bare.PATH
BODY = fastapi_bare.BODY


def make() -> FastAPI:
    app = FastAPI()
    limiter = Limiter(key_func=get_remote_address, headers_enabled=True)
    app.state.limiter = limiter

    @app.get(PATH)
    @limiter.limit("1000000/second")
    async def data(request: Request, response: Response) -> dict[str, Any]:
        return fastapi_bare.PAYLOAD

    return app


app = make()
