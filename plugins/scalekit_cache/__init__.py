"""Keep answers and values, and give them again without asking the application."""

from scalekit_cache.decorator import cached

__all__ = ["cached"]
