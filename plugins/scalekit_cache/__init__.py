"""Keep answers and values, and give them again without asking the application."""

from scalekit_cache.marking import cached

__all__ = ["cached"]
