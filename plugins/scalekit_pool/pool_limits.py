"""The bounds of a pool; times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections, how many may wait, and how long everything may take."""

    min_size: int = 1
    max_size: int = 20
    max_waiting: int = 100
    acquire_timeout: float = 5.0
    connect_timeout: float = 2.0
    idle_timeout: float = 30.0
    max_lifetime: float = 1800.0
