"""Evaluate the results of one pytest run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

FAILED = ("failed", "error")
ENDS = {
    2: "it was interrupted, or tests could not be collected",
    3: "an internal error",
    4: "wrong usage",
    5: "no tests",
}


@dataclass
class Result:
    """The outcome of one test, and the first line of its error."""

    outcome: str
    message: str
    seconds: dict[str, float]


@dataclass
class Run:
    """One pytest run: the results of its tests, and the problems that invalidate it."""

    tests: dict[str, Result] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def failed(self) -> dict[str, Result]:
        return {name: result for name, result in self.tests.items() if result.outcome in FAILED}


def read(file: Path, status: int) -> Run:
    """Return the run recorded in the file; a run that crashed has problems."""
    if not file.exists():
        return Run(problems=[f"pytest ended with {status} before its tests were over"])
    content = json.loads(file.read_text())
    run = Run({name: Result(**test) for name, test in content["tests"].items()}, list(content["problems"]))
    if status not in (0, 1):
        run.problems.append(f"pytest ended with {status}: {ENDS.get(status, 'unknown')}")
    elif status != int(bool(run.failed) or bool(run.problems)) or content["status"] != status:
        run.problems.append(f"pytest ended with {status} and recorded {len(run.failed)} failed tests")
    if os.environ.get("CI") == "true":
        skipped = [(name, result.message) for name, result in run.tests.items() if result.outcome == "skipped"]
        run.problems += [f"{name} was skipped: {reason}" for name, reason in skipped]
    if not run.tests:
        run.problems.append("no test was run")
    if content["lost"]:
        run.problems.append(f"{len(content['lost'])} tests were not run to their end: {content['lost'][0]}, ...")
    return run
