"""Declare the bearer token in a FastAPI application's OpenAPI document.

Only this module imports FastAPI, which is optional and slow to import.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from fastapi import Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection


class BearerScheme(SecurityBase):
    """The OpenAPI security scheme ``bearerAuth``; it verifies nothing itself."""

    def __init__(self) -> None:
        self.model = HTTPBearer(bearerFormat="JWT")
        self.scheme_name = "bearerAuth"

    async def __call__(self) -> None:
        """Do nothing; being async, it runs on the event loop."""


BEARER_SCHEME = BearerScheme()


def parameters(scopes: Sequence[str]) -> list[inspect.Parameter]:
    """Return the parameters that FastAPI injects into a dependency that requires a token with *scopes*."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("connection", kind, annotation=HTTPConnection),
        inspect.Parameter("security", kind, annotation=SecurityScopes),
        inspect.Parameter("scheme", kind, default=Security(BEARER_SCHEME, scopes=scopes)),
    ]
