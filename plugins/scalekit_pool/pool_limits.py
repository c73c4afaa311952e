"""The limits of a connection pool."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Numbers of connections and waiting requests, and timeouts in seconds."""

    min_size: int = 1
    max_size: int = 20
    max_waiting: int = 100
    acquire_timeout: float = 5.0
    connect_timeout: float = 2.0
    idle_timeout: float = 30.0
    max_lifetime: float = 1800.0
