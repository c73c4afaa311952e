"""Read the bodies of requests within bounds."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_BODY = 4096
"""Bytes of a JSON object."""


async def read_json_object(request: Request, example: str) -> dict[str, Any]:
    """Return the JSON object in the body of *request*; the error for something else shows *example*.

    Raises HTTPException, also when the content type is another one: pages of other sites can send forms from an
    operator's browser, but not JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "expected Content-Type: application/json")
    try:
        found: Any = orjson.loads(await read_body(request, MAX_BODY))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise HTTPException(400, f"expected a JSON object such as {example}")
    return found


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body of *request*; raises HTTPException when it is longer than *limit* bytes."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise HTTPException(413, f"expected a body of {limit} bytes at most")
    return body
