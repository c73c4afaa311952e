"""Parse and validate request bodies."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from scalekit.http.problem import ProblemResponse

Content = TypeVar("Content")
NO_NUL = r"^[^\x00]*$"
"""Pattern of text without NUL characters, which PostgreSQL does not store."""


async def parse_body(request: Request, kind: TypeAdapter[Content], expected: str) -> Content | ProblemResponse:
    """Return the body of *request* as a *kind*, or the 422 response that says that it is not *expected*."""
    try:
        return kind.validate_json(await request.body())
    except ValidationError as error:
        return validation_problem(error, expected)


def validation_problem(error: ValidationError, expected: str) -> ProblemResponse:
    """Return the 422 response to a body that is not *expected*, with the location of each error."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return ProblemResponse(422, f"the body is not {expected}", errors=problems)
