"""Garbage collection: left alone with what start has made, and timed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from scalekit.config.tables import Memory


def settle(table: Memory) -> None:
    """Collect what start has left behind, and spare collections to come what it has made."""
    if table.thresholds is not None:
        gc.set_threshold(*table.thresholds)
    if table.freeze:
        gc.collect()
        gc.freeze()


@contextmanager
def timed(observe: Callable[[int, float], None]) -> Generator[None, None, None]:
    """Call *observe* with generation and seconds after each collection, until left."""
    begun = 0.0

    def on_collection(phase: str, about: dict[str, Any]) -> None:
        nonlocal begun
        if phase == "start":
            begun = time.perf_counter()
        else:
            observe(about["generation"], time.perf_counter() - begun)

    gc.callbacks.append(on_collection)
    try:
        yield
    finally:
        gc.callbacks.remove(on_collection)
