"""FastAPI with nothing on."""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

PATH = "/api/data"
PAYLOAD: dict[str, Any] = {
    "items": [{"id": number, "name": f"item-{number}", "price": 9.99 + number} for number in range(10)]
}
BODY = JSONResponse(PAYLOAD).body


def make() -> FastAPI:
    app = FastAPI()

    @app.get(PATH)
    async def data() -> dict[str, Any]:
        return PAYLOAD

    return app


app = make()
