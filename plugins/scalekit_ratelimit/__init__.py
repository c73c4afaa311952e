"""Limits by address and by subject, exact over all instances."""

from scalekit_ratelimit.decorator import limited

__all__ = ["limited"]
