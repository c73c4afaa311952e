"""Cache stores that plugins share: in memory, in Redis, and both as two levels (L1 and L2).

The library knows neither HTTP nor plugins. A plugin adds its own kinds of items and how they are encoded.
"""
