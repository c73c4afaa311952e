"""Control the garbage collector: pause it during imports, freeze objects after the start, time its pauses."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scalekit.config.tables import Memory


@contextmanager
def gc_paused() -> Generator[None, None, None]:
    """Disable garbage collection inside the block: imports leave little garbage and many objects to traverse."""
    thresholds = gc.get_threshold()
    gc.set_threshold(0)
    try:
        yield
    finally:
        if gc.get_threshold()[0] == 0:  # else the application has set its own
            gc.set_threshold(*thresholds)


def freeze_imports(table: Memory) -> None:
    """Exclude all imported objects from later collections (``gc.freeze``) when ``gc_freeze`` is set."""
    if table.gc_freeze:
        gc.freeze()


def collect_and_freeze(table: Memory) -> None:
    """Collect the garbage of the start, then exclude the remaining objects from later collections."""
    if table.gc_thresholds is not None:
        gc.set_threshold(*table.gc_thresholds)
    if table.gc_freeze:
        gc.collect()
        gc.freeze()


@contextmanager
def gc_timed(observe: Callable[[int, float], None]) -> Generator[None, None, None]:
    """Call *observe* with the generation and duration in seconds after each collection inside the block."""
    started = 0.0

    def on_collection(phase: str, info: dict[str, Any]) -> None:
        nonlocal started
        if phase == "start":
            started = time.perf_counter()
        else:
            observe(info["generation"], time.perf_counter() - started)

    gc.callbacks.append(on_collection)
    try:
        yield
    finally:
        gc.callbacks.remove(on_collection)
