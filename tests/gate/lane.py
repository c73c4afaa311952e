"""Phases that run one after the other, concurrently with other lanes."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import chain

from tests.gate.phase import Phase

Lane = Sequence[Phase]


def run_lanes(lanes: Sequence[Lane]) -> None:
    """Run the lanes concurrently; an exception in this thread, such as an interrupt, stops them.

    The first lane prints as it goes, each phase of the others when it is over.
    """
    with ThreadPoolExecutor(len(lanes)) as threads:
        try:
            runs = [
                threads.submit(_run_lane, lane, _run_quietly if number else _run_aloud)
                for number, lane in enumerate(lanes)
            ]
            for run in as_completed(runs):
                run.result()
        except BaseException:
            for phase in chain(*lanes):
                phase.stop()
            raise


def _run_lane(lane: Lane, run: Callable[[Phase], None]) -> None:
    for phase in lane:
        run(phase)


def _run_aloud(phase: Phase) -> None:
    print(f"\n==> {phase.name}", flush=True)
    phase.run()


def _run_quietly(phase: Phase) -> None:
    with tempfile.TemporaryFile() as output:
        phase.run(output)
        output.seek(0)
        print(f"\n==> {phase.name}", flush=True)
        shutil.copyfileobj(output, sys.stdout.buffer)
        sys.stdout.flush()
