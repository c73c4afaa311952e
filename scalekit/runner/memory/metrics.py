"""Memory as metrics."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from scalekit.runner.memory.gc_control import timed
from scalekit.runner.memory.usage import proportional, resident
from scalekit.telemetry import Alert, Gauge, Histogram, Telemetry

RESIDENT = Gauge(
    "scalekit_memory_resident_bytes", "Memory of the process, shared pages whole.", multiprocess_mode="all"
)
PROPORTIONAL = Gauge(
    "scalekit_memory_proportional_bytes", "Memory of the process, shared pages in part.", multiprocess_mode="all"
)
BLOCKS = Gauge("scalekit_memory_allocated_blocks", "Blocks that Python has allocated.", multiprocess_mode="all")
OBJECTS = Gauge("scalekit_memory_objects", "Objects that garbage collection looks at.", multiprocess_mode="all")
FROZEN = Gauge("scalekit_memory_frozen_objects", "Objects that garbage collection leaves out.", multiprocess_mode="all")
PAUSES = Histogram(
    "scalekit_memory_collection_seconds",
    "Time that garbage collections took, in which nothing else ran.",
    ("generation",),
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0),
    alert=Alert("Garbage collections hold everything up.", bound=0.25),
)
GENERATIONS = ("0", "1", "2")
ROUNDS = 15
"""What means a walk over all pages or objects is done in one of so many samples."""


@asynccontextmanager
async def memory_metrics(telemetry: Telemetry) -> AsyncGenerator[None, None]:
    """Keep the metrics of this process's memory in *telemetry* until left."""
    if not telemetry.recording:
        yield
        return
    pauses = [telemetry.series(PAUSES, generation) for generation in GENERATIONS]
    with (
        timed(lambda generation, seconds: pauses[generation].observe(seconds)),
        telemetry.on_collect(MemorySampler(telemetry).sample),
    ):
        yield


class MemorySampler:
    """Reads what the process uses."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._resident = telemetry.series(RESIDENT)
        self._proportional = telemetry.series(PROPORTIONAL)
        self._blocks = telemetry.series(BLOCKS)
        self._objects = telemetry.series(OBJECTS)
        self._frozen = telemetry.series(FROZEN)
        self._samples = 0

    def sample(self) -> None:
        """Set the gauges."""
        if self._samples % ROUNDS == 0:
            self._proportional.set(proportional(os.getpid()))
            self._objects.set(len(gc.get_objects()))
            self._frozen.set(gc.get_freeze_count())  # which walks over them all, to count them
        self._samples += 1
        self._resident.set(resident(os.getpid()))
        self._blocks.set(sys.getallocatedblocks())
