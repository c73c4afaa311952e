"""Read the values that forms and JSON clients send, within bounds."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

from scalekit import read_body
from scalekit.pages import PageAction

MAX_BODY = 16_384
"""Bytes of a request body."""
MAX_QUERY = 8_192
"""Bytes of a query."""
MAX_FIELDS = 50
MAX_VALUE = 1_000
"""Characters of a value."""


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; raises HTTPException when there are too many."""
    body = await read_body(request, MAX_BODY)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise HTTPException(400, f"expected a form with at most {MAX_FIELDS} fields") from None


async def read_json(request: Request) -> dict[str, str]:
    """Return the members of a JSON object of texts; raises HTTPException when it is none."""
    body = await read_body(request, MAX_BODY)
    try:
        found = orjson.loads(body or b"{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise HTTPException(400, 'expected a JSON object of texts, such as {"tag": "products"}')
    return found


def check_values(action: PageAction, values: Mapping[str, str]) -> dict[str, str]:
    """Return the values of all fields of *action*; raises HTTPException naming the field that is invalid."""
    fields = {field.name: field for field in action.fields}
    if unknown := values.keys() - fields.keys():
        raise HTTPException(400, f"unknown field {min(unknown)!r}; expected {', '.join(fields) or 'none'}")
    for name, field in fields.items():
        value = values.get(name, "")
        if field.required and not value:
            raise HTTPException(400, f"{name}: a value is required")
        if field.choices and value not in field.choices:
            raise HTTPException(400, f"{name}: expected {', '.join(field.choices)}, got {value[:100]!r}")
        if len(value) > MAX_VALUE:
            raise HTTPException(400, f"{name}: expected at most {MAX_VALUE} characters")
    return {name: values.get(name, "") for name in fields}


def query_of(request: Request) -> dict[str, str]:
    """Return the query of *request*; raises HTTPException naming what is too long."""
    if len(request.scope["query_string"]) > MAX_QUERY:
        raise HTTPException(414, f"expected a query of {MAX_QUERY} bytes at most")
    items = list(request.query_params.items())
    if len(items) > MAX_FIELDS:
        raise HTTPException(414, f"expected a query of {MAX_FIELDS} parameters at most")
    for name, value in items:
        if len(name) > MAX_VALUE or len(value) > MAX_VALUE:
            raise HTTPException(414, f"{name[:100]}: expected at most {MAX_VALUE} characters in a query parameter")
    return dict(items)
