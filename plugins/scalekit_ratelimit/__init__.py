"""Rate limits by client address, user, header or function, exact across all instances."""

from scalekit_ratelimit.handler_limits import limited

__all__ = ["limited"]
