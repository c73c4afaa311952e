"""Prometheus metrics of memory and garbage collection."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from scalekit.runner.memory.gc_control import gc_timed
from scalekit.runner.memory.usage import pss, rss
from scalekit.telemetry import Alert, Gauge, Histogram, Telemetry

RESIDENT = Gauge(
    "scalekit_memory_resident_bytes",
    "Resident set size (RSS) of the process.",
    multiprocess_mode="all",
)
PROPORTIONAL = Gauge(
    "scalekit_memory_proportional_bytes",
    "Proportional set size (PSS) of the process.",
    multiprocess_mode="all",
)
BLOCKS = Gauge("scalekit_memory_allocated_blocks", "Memory blocks that Python has allocated.", multiprocess_mode="all")
OBJECTS = Gauge("scalekit_memory_objects", "Objects that the garbage collector tracks.", multiprocess_mode="all")
FROZEN = Gauge("scalekit_memory_frozen_objects", "Objects that the garbage collector skips.", multiprocess_mode="all")
PAUSES = Histogram(
    "scalekit_gc_pause_seconds",
    "Pauses of the process by garbage collections.",
    ("generation",),
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0),
    alert=Alert(
        "Garbage collections pause the process for too long.",
        "Requests wait during a pause. The application keeps very many objects: `/-/memory` shows which types grow."
        " Keep server.memory.gc_freeze on, and hold large data in few objects, such as arrays or bytes.",
        threshold=0.25,
    ),
)
GENERATIONS = ("0", "1", "2")
SLOW_SAMPLE_EVERY = 15
"""Metrics that require a walk over all pages or objects are updated in one of this many samples."""


@asynccontextmanager
async def memory_metrics(telemetry: Telemetry) -> AsyncGenerator[None, None]:
    """Record memory and garbage collection of this process in *telemetry* inside the block."""
    if not telemetry.recording:
        yield
        return
    pauses = [telemetry.series(PAUSES, generation) for generation in GENERATIONS]
    with (
        gc_timed(lambda generation, seconds: pauses[generation].observe(seconds)),
        telemetry.on_collect(MemorySampler(telemetry).sample),
    ):
        yield


class MemorySampler:
    """Samples the memory usage of the process."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._resident = telemetry.series(RESIDENT)
        self._proportional = telemetry.series(PROPORTIONAL)
        self._blocks = telemetry.series(BLOCKS)
        self._objects = telemetry.series(OBJECTS)
        self._frozen = telemetry.series(FROZEN)
        self._samples = 0

    def sample(self) -> None:
        """Update the gauges."""
        if self._samples % SLOW_SAMPLE_EVERY == 0:
            self._proportional.set(pss(os.getpid()))
            self._objects.set(len(gc.get_objects()))
            self._frozen.set(gc.get_freeze_count())  # counts by walking over all of them
        self._samples += 1
        self._resident.set(rss(os.getpid()))
        self._blocks.set(sys.getallocatedblocks())
