"""Tokens in an OpenAPI document, as FastAPI makes it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from fastapi import Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection


class TokenScheme(SecurityBase):
    """Tells OpenAPI that a token is needed; checks nothing itself."""

    def __init__(self) -> None:
        self.model = HTTPBearer(bearerFormat="JWT")
        self.scheme_name = "bearerAuth"

    async def __call__(self) -> None:
        """Do nothing, on the event loop."""


SCHEME = TokenScheme()


def parameters(scopes: Sequence[str]) -> list[inspect.Parameter]:
    """Return what FastAPI gives a dependency that needs a token with *scopes*."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("connection", kind, annotation=HTTPConnection),
        inspect.Parameter("security", kind, annotation=SecurityScopes),
        inspect.Parameter("scheme", kind, default=Security(SCHEME, scopes=scopes)),
    ]
