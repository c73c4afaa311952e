"""Litestar with nothing on."""

from typing import Any

import msgspec
from litestar import Litestar, get

PATH = "/api/data"
PAYLOAD: dict[str, Any] = {
    "items": [{"id": number, "name": f"item-{number}", "price": 9.99 + number} for number in range(10)]
}
BODY = msgspec.json.encode(PAYLOAD)


@get(PATH)
async def data() -> dict[str, Any]:
    return PAYLOAD


def make() -> Litestar:
    return Litestar([data])


app = make()
