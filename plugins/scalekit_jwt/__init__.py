"""Tokens: issued, verified, rotated, revoked."""

from scalekit_jwt.dependencies import RequireToken

__all__ = ["RequireToken"]
