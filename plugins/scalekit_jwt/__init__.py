"""Access and refresh tokens: issue, verify, rotate and revoke JWTs."""

from scalekit_jwt.dependencies import RequireToken
from scalekit_jwt.user import TokenUser

__all__ = ["RequireToken", "TokenUser"]
