"""Rate limits by client address, user, header or function, exact across all instances."""

from scalekit_ratelimit.decorator import limited

__all__ = ["limited"]
