"""A FastAPI dependency.

This module evaluates its annotations, for FastAPI reads them.
"""

from starlette.requests import HTTPConnection

from scalekit_jwt.identity import TokenUser
from scalekit_jwt.refusing import SCHEME, as_exception, forbidden, unauthorized


class RequireToken:
    """Gives the user of a verified token that has all of *scopes*: ``Depends(RequireToken("orders:read"))``."""

    def __init__(self, *scopes: str) -> None:
        self._scopes = frozenset(scopes)

    def __call__(self, connection: HTTPConnection) -> TokenUser:
        """Return who asks; raises HTTPException, a 401 or 403 with ``WWW-Authenticate``."""
        user = connection.scope.get("user")
        if not isinstance(user, TokenUser):
            raise as_exception(unauthorized(SCHEME(connection)))
        if not self._scopes.issubset(connection.auth.scopes):
            raise as_exception(forbidden(SCHEME(connection), self._scopes))
        return user
