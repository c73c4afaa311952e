"""Run all tests: `make test`.

Failed tests run once more at the end of their part; one that then passes is flaky, one that fails again fails the gate.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NoReturn

from tests.gate.busy import busy
from tests.gate.lane import Lane, run_lanes
from tests.gate.phase import Phase
from tests.gate.pythons import environment, name_of, oldest_and_newest, remove_environments_of_removed_checkouts
from tests.gate.summary import PART, Total, lines

BESIDE = ("-p", "tests.gate.order", "--no-loadscope-reorder", "--dist=loadfile", "--max-worker-restart=0")
"""Ends the run after a crash, which fails the gate: pytest-xdist may otherwise wait forever."""
PROCESSES = "-n4"
"""Processes of tests: twice the cores of a small machine, since tests wait for servers two thirds of their time."""


def lanes() -> list[Lane]:
    """Return the parts of the gate; lanes run concurrently."""
    return [
        [Phase("tests side by side", [PROCESSES, *BESIDE, "-m", "not load"])],
        [Phase("tests that load the machine", ["-m", "load"])],
        list(_other_pythons()),
    ]


def _other_pythons() -> Iterator[Phase]:
    """Yield the quick tests and the start of the sample under the oldest and the newest supported Python."""
    remove_environments_of_removed_checkouts()
    for version, python in oldest_and_newest().items():
        if version != sys.version_info[:2]:
            name = f"quick tests under {name_of(version)}"
            yield Phase(name, ["-m", "unit or every_python"], partial(environment, version, python))


def main() -> int:
    """Run every phase, and return the exit status."""
    signal.signal(signal.SIGTERM, _end)
    began = time.monotonic()
    count = int(os.environ.get("BUSY") or 0)
    times = [("make check", float(os.environ["CHECK_SECONDS"]))] if os.environ.get("CHECK_SECONDS") else []
    parts = lanes()
    with busy(count):
        total = _run(parts, times)
    times.append(("make test", time.monotonic() - began))
    print("\n".join(lines(total, times, list(chain(*parts)))), flush=True)
    return 0 if total.passed else 1


def _run(parts: Sequence[Lane], times: list[tuple[str, float]]) -> Total:
    run_lanes(parts)
    total = Total()
    began = time.monotonic()
    for phase in chain(*parts):
        times.append((PART + phase.name, phase.seconds))
        total.add(phase)
    times.append((PART + "once more, failed tests", time.monotonic() - began))
    return total


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
