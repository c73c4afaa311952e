"""HTTP response cache (RFC 9111) and key-value cache."""

from scalekit_cache.decorator import cached

__all__ = ["cached"]
