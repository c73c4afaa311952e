"""A FastAPI dependency.

This module evaluates its annotations, for FastAPI reads them.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

from starlette.requests import HTTPConnection

from scalekit.problem import ProblemError
from scalekit_jwt.challenges import REFUSED, SCHEME, forbidden, unauthorized
from scalekit_jwt.user import TokenUser


class Scopes(Protocol):
    """FastAPI's SecurityScopes: what ``Security(..., scopes=[...])`` asks for."""

    scopes: Sequence[str]


class RequireToken:
    """Gives the user of a verified token that has all of *scopes*: ``Depends(RequireToken("orders:read"))``.

    ``Security(RequireToken(), scopes=["orders:read"])`` asks for the same. OpenAPI tells of both.
    """

    def __init__(self, *scopes: str) -> None:
        self._scopes = frozenset(scopes)

    @property
    def __signature__(self) -> inspect.Signature:
        """What FastAPI is to call it with."""
        from scalekit_jwt.openapi import parameters  # FastAPI takes long to import, and only who uses it is here

        return inspect.Signature(parameters(sorted(self._scopes)))

    async def __call__(
        self, connection: HTTPConnection, security: Scopes | None = None, scheme: Any = None
    ) -> TokenUser:
        """Return the user; raises ProblemError, a 401 or 403 with ``WWW-Authenticate`` (RFC 6750, section 3)."""
        user = connection.scope.get("user")
        if not isinstance(user, TokenUser):
            raise ProblemError(unauthorized(SCHEME(connection), connection.scope.get(REFUSED, "")))
        wanted = self._scopes.union(security.scopes) if security is not None else self._scopes
        if not wanted.issubset(connection.scope["auth"].scopes):
            raise ProblemError(forbidden(SCHEME(connection), wanted))
        return user
