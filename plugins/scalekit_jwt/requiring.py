"""A FastAPI dependency.

This module evaluates its annotations, for FastAPI reads them.
"""

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from scalekit.problem import ProblemResponse
from scalekit_jwt.identity import TokenUser
from scalekit_jwt.refusing import forbidden, unauthorized


class RequireToken:
    """Gives the user of a verified token that has all of *scopes*: ``Depends(RequireToken("orders:read"))``."""

    def __init__(self, *scopes: str) -> None:
        self._scopes = frozenset(scopes)

    def __call__(self, connection: HTTPConnection) -> TokenUser:
        """Return who asks; raises HTTPException, a 401 or 403 with ``WWW-Authenticate``."""
        user = connection.scope.get("user")
        if not isinstance(user, TokenUser):
            raise _exception(unauthorized())
        if not self._scopes.issubset(connection.auth.scopes):
            raise _exception(forbidden(self._scopes))
        return user


def _exception(response: ProblemResponse) -> HTTPException:
    headers = {"www-authenticate": response.headers["www-authenticate"]}
    return HTTPException(response.status_code, headers=headers)
