"""Read what clients send, and answer what is wrong with it."""

from __future__ import annotations

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request

from scalekit.http.problem import ProblemResponse

Content = TypeVar("Content")
NO_NUL = r"^[^\x00]*$"
"""The pattern of texts that every database takes: PostgreSQL keeps no NUL."""


async def read(request: Request, kind: TypeAdapter[Content], what: str) -> Content | ProblemResponse:
    """Return the body as a *kind*, or the answer that says why it is not *what* was expected."""
    try:
        return kind.validate_json(await request.body())
    except ValidationError as error:
        return explained(error, what)


def explained(error: ValidationError, what: str) -> ProblemResponse:
    """Return the answer that says why a body is not *what* was expected."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return ProblemResponse(422, f"the body is not {what}", errors=problems)
