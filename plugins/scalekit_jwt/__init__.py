"""Access and refresh tokens: issue, verify, rotate and revoke JWTs."""

from scalekit_jwt.dependencies import RequireToken

__all__ = ["RequireToken"]
