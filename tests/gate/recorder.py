"""A pytest plugin that records the outcome of each test in a file, and can run only the tests that a file names.

    pytest -p tests.gate.recorder --record results.json [--only ids.json]

The file appears when the session ends in order, so that a run which dies leaves none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

STAGES = ("setup", "call", "teardown")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", metavar="FILE", help="write the outcome of every test into this JSON file")
    parser.addoption("--only", metavar="FILE", help="run only the tests whose ids are in this JSON file")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--record")
    if file and not hasattr(config, "workerinput"):  # pytest-xdist's workers tell their controller
        config.pluginmanager.register(Recorder(Path(file)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if file := config.getoption("--only"):
        wanted = set(json.loads(Path(file).read_text()))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in wanted])
        items[:] = [item for item in items if item.nodeid in wanted]


class Recorder:
    """Collects the reports of one session."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._collected: set[str] = set()
        self._tests: dict[str, dict[str, Any]] = {}
        self._problems: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected |= {item.nodeid for item in session.items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        self._collected |= set(ids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object, error: object) -> None:
        if error:
            self._problems.append(f"a worker process ended: {error}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._problems.append(f"{report.nodeid} cannot be collected: {_message(report)}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when not in STAGES:
            self._problems.append(f"a worker process crashed in {report.nodeid}")
            return
        test = self._tests.setdefault(report.nodeid, {"outcome": "passed", "message": "", "seconds": {}})
        test["seconds"][report.when] = report.duration
        outcome = _outcome(report)
        if outcome != "passed" and test["outcome"] not in ("failed", "error"):
            test["outcome"], test["message"] = outcome, _message(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        # A test without its teardown's report was not over.
        over = {name for name, test in self._tests.items() if "teardown" in test["seconds"]}
        lost = sorted(self._collected - over)
        content = {"status": int(exitstatus), "tests": self._tests, "lost": lost, "problems": self._problems}
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(content))
        os.replace(part, self._file)


def _outcome(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed:
        return "failed" if report.when == "call" else "error"
    return report.outcome


def _message(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the first line of the error."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        text = crash.message
    elif isinstance(report.longrepr, tuple):
        text = report.longrepr[2]
    else:
        text = (report.longreprtext.strip() or "?").splitlines()[-1]
    return str(text).strip().partition("\n")[0][:300]
