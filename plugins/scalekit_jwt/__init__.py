"""Tokens: issued, verified, rotated, revoked."""

from scalekit_jwt.requiring import RequireToken

__all__ = ["RequireToken"]
