"""FastAPI dependency that requires a token.

The module has no postponed annotations, because FastAPI evaluates them.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

from starlette.requests import HTTPConnection

from scalekit import ProblemError
from scalekit_jwt.challenges import CHALLENGE, REJECTION_REASON, forbidden, unauthorized
from scalekit_jwt.user import TokenUser


class RequiredScopes(Protocol):
    """FastAPI's SecurityScopes: the scopes of ``Security(..., scopes=[...])``."""

    scopes: Sequence[str]


class RequireToken:
    """Return the user of a verified token with all *scopes*: ``Depends(RequireToken("orders:read"))``.

    ``Security(RequireToken(), scopes=["orders:read"])`` is equivalent. Both appear in the OpenAPI document.
    """

    def __init__(self, *scopes: str) -> None:
        self._scopes = frozenset(scopes)

    @property
    def __signature__(self) -> inspect.Signature:
        """The parameters that FastAPI injects."""
        from scalekit_jwt.openapi import parameters  # FastAPI is optional and slow to import

        return inspect.Signature(parameters(sorted(self._scopes)))

    async def __call__(
        self, connection: HTTPConnection, security: RequiredScopes | None = None, scheme: Any = None
    ) -> TokenUser:
        """Return the user; raises ProblemError, a 401 or 403 with ``WWW-Authenticate`` (RFC 6750, section 3)."""
        user = connection.scope.get("user")
        if not isinstance(user, TokenUser):
            raise ProblemError(unauthorized(CHALLENGE(connection), connection.scope.get(REJECTION_REASON, "")))
        required = self._scopes.union(security.scopes) if security is not None else self._scopes
        if not required.issubset(connection.scope["auth"].scopes):
            raise ProblemError(forbidden(CHALLENGE(connection), required))
        return user
