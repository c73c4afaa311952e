"""One part of the gate: tests that run together, under one Python."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.gate.verdict import Run, read
from tests.processes import alive, family

ROOT = Path(__file__).parents[2]
WITH_SIGINT = ("env", "--default-signal=INT")
"""Restores the default handling of SIGINT, which a gate in the background ignores and the command would inherit."""
PATIENCE = 60.0
"""Seconds that pytest has to take its servers down when the gate is interrupted."""


@dataclass
class Phase:
    """Arguments of pytest for a phase, and its result."""

    name: str
    arguments: Sequence[str]
    python: Callable[[], str] = lambda: sys.executable
    """Returns the interpreter, which may have to be prepared first."""
    folder: Path = ROOT
    seconds: float = 0.0
    outcome: Run = field(default_factory=Run)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, output: IO[bytes] | None = None) -> None:
        """Run the tests, unless the phase has been stopped; print to *output*, the standard output without."""
        began = time.monotonic()
        try:
            self.outcome = self._pytest(self.arguments, output)
        except (OSError, subprocess.SubprocessError) as error:
            self.outcome = Run(problems=[f"it could not be prepared: {error}"])
        self.seconds = time.monotonic() - began

    def stop(self) -> None:
        """Interrupt running tests, in any thread, and prevent pending ones from starting."""
        self.stopped.set()

    def repeat(self, names: Iterable[str]) -> Run:
        """Run the named tests once more, one after the other."""
        wanted = sorted(names)
        files = sorted({name.partition("::")[0] for name in wanted})
        with tempfile.NamedTemporaryFile("w", suffix=".json") as only:
            json.dump(wanted, only)
            only.flush()
            run = self._pytest(["--only", only.name, "--maxfail=10", *files], None)
        if missing := set(wanted) - set(run.tests):
            run.problems.append(f"{len(missing)} tests did not run again: {min(missing)}, ...")
        return run

    def _pytest(self, arguments: Iterable[str], output: IO[bytes] | None) -> Run:
        with tempfile.TemporaryDirectory(prefix="scalekit-gate-") as folder:
            file = Path(folder, "results.json")
            plugin = ["-p", "tests.gate.recorder", "--record", str(file)]
            command = [self.python(), "-m", "pytest", "-q", *plugin, *arguments]
            return read(file, self._end_of(command, output))

    def _end_of(self, command: Sequence[str], output: IO[bytes] | None) -> int:
        """Return the exit status of the command; its process group is killed when the phase stops."""
        if self.stopped.is_set():
            return -signal.SIGINT
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", *WITH_SIGINT, *command], cwd=self.folder, stdout=output, stderr=output
        )
        try:
            while process.poll() is None and not self.stopped.wait(0.1):
                pass
        finally:
            if process.poll() is None:
                _interrupt(process)
        return process.wait()


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    started = family(process.pid)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        pass
    for pid in filter(alive, started):
        os.kill(pid, signal.SIGKILL)
