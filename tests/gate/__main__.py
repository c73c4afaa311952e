"""Run all tests: `make test`.

What fails runs once more at the end of its part; what passes then is flaky, and what fails twice fails the gate.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from tests.gate.busy import busy
from tests.gate.phase import Phase
from tests.gate.summary import Total, lines


def phases() -> list[Phase]:
    """Return the parts of the gate in their order."""
    return [
        Phase("tests in two processes", ["-n2", "--dist=loadfile", "-m", "not alone"]),
        Phase("tests that run alone", ["-m", "alone"]),
    ]


def main() -> int:
    """Run every phase, and return the exit status."""
    signal.signal(signal.SIGTERM, _end)
    count = int(os.environ.get("BUSY") or 0)
    times = [("make check", float(os.environ["CHECK_SECONDS"]))] if os.environ.get("CHECK_SECONDS") else []
    with busy(count):
        total = _run(parts := phases(), times)
    print("\n".join(lines(total, times, parts)), flush=True)
    return 0 if total.passed else 1


def _run(parts: Sequence[Phase], times: list[tuple[str, float]]) -> Total:
    total = Total()
    for phase in parts:
        phase.run()
        times.append((phase.name, phase.seconds))
    began = time.monotonic()
    for phase in parts:
        total.add(phase)
    times.append(("once more, what failed", time.monotonic() - began))
    return total


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
