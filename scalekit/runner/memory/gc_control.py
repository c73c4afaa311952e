"""Garbage collection: left alone with what start has made, and timed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scalekit.config.tables import Memory


@contextmanager
def paused() -> Generator[None, None, None]:
    """Collect no garbage while modules are imported: they leave little, and each collection looks at all of them."""
    thresholds = gc.get_threshold()
    gc.set_threshold(0)
    try:
        yield
    finally:
        if gc.get_threshold()[0] == 0:  # else the application has chosen its own
            gc.set_threshold(*thresholds)


def spare_imports(table: Memory) -> None:
    """Spare collections from now on what has been imported, garbage or not."""
    if table.freeze:
        gc.freeze()


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
